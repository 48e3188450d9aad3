/** Untrusted texts for people. They only ever become text: textContent here, fillText on the canvas. */

const UNSEEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const code = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Control characters, marks that turn the direction of writing and lone surrogates, written out. */
export function plain(text) {
  return String(text).replace(UNSEEN, code).replace(LONE, code);
}

/** One line of at most so many characters. */
export function line(text, most) {
  const start = String(text).slice(0, 8 * most);
  const characters = [...plain(start).replace(/\s+/g, " ")];
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : characters.join("");
}

export const count = (number) => (number ?? 0).toLocaleString("en");

/** Such as "1 node" or "2 nodes". */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function seconds(value) {
  if (value === undefined || value === null) return "";
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(1)} s`;
}

/** An element with a class, texts and other elements in it. */
export function element(name, kind, ...inside) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...inside);
  return made;
}
