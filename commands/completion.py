"""Complete commands, options and values in a shell: eval "$(python run_experiment.py completion bash)"."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import CompletionPlugin, DefaultCompletionPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from commands.errors import REFUSALS, BadInput, shorten
from commands.launch import ROOT, command_names

__all__ = ["run", "take_words"]

# The program that is being completed is asked, so that this holds for every checkout and environment. Where it has
# nothing to say, as for other programs of that Python, the shell goes on as it would: with files.
BASH = """
_system2_engine() {
    local line="${COMP_LINE:0:COMP_POINT}" current before each
    [[ "${COMP_WORDS[1]}" == *run_experiment.py && $COMP_CWORD -gt 1 ]] || return 0
    current="${line##* }"
    # Where '=' breaks words, the shell's own word begins behind the last one.
    [[ "$COMP_WORDBREAKS" == *=* ]] && before="${current%"${current##*=}"}"
    COMPREPLY=()
    while IFS= read -r each; do
        COMPREPLY+=("${each#"$before"}")
    done < <("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" completion words "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *[=./] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -o bashdefault -F _system2_engine python python3
"""
ZSH = """
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_system2_engine() {
    local line
    local -a found
    if [[ "${words[2]}" == *run_experiment.py ]] && (( CURRENT > 2 )); then
        line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
        found=("${(@f)$("${words[1]}" "${words[2]}" completion words "$line" 2>/dev/null)}")
    fi
    found=(${found:#})
    if (( ! $#found )); then
        if [[ "${words[2]}" != *run_experiment.py ]] && (( $+functions[_python] )); then _python; else _default; fi
        return
    fi
    compadd -S '' -- ${(M)found:#*[=./]}
    compadd -- ${found:#*[=./]}
}
compdef _system2_engine python python3
"""
FISH = """
function __system2_engine_is_typed
    string match -q '*run_experiment.py' -- (commandline -cpo)[2]
end
function __system2_engine
    set -l words (commandline -cpo)
    set -l found ($words[1] $words[2] completion words (commandline -cp | string collect) 2>/dev/null)
    if set -q found[1]
        string join \\n -- $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c python -c python3 -f -n __system2_engine_is_typed -a '(__system2_engine)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def take_words(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """`completion SHELL`, or `completion words LINE`, which the scripts ask."""
    if list(arguments[:1]) == ["words"] and len(arguments) > 1:
        return {"line": arguments[1]}, list(arguments[2:])
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        return {"shell": arguments[0]}, list(arguments[1:])
    return {}, list(arguments)


def run(cfg: DictConfig, shell: str | None = None, line: str | None = None) -> int:
    if line is not None:
        for each in candidates(line):  # no line at all where there are none: an empty one would count as an offer
            print(each)
        return 0
    if shell not in SCRIPTS:
        given = "a shell is missing" if shell is None else f"there is no shell {shorten(shell)}"
        raise BadInput(f"{given}; allowed: {', '.join(SCRIPTS)}")
    print(SCRIPTS[shell].strip())
    return 0


def candidates(line: str) -> list[str]:
    """What the last word of a command line, `python run_experiment.py ...` up to the cursor, may become.

    Nothing where the line cannot be read, or refuses itself.
    """
    try:
        words = shlex.split(line)
    except ValueError:  # within quotes: it is a problem that is typed
        return []
    last = "" if line[-1:].isspace() or len(words) < 3 else words.pop()
    if len(words) < 3:
        return [name for name in command_names() if name.startswith(last)]
    name, given = words[2], words[3:]
    if name == "completion" and not given:
        return [shell for shell in SCRIPTS if shell.startswith(last)]
    if name not in command_names() or name == "completion":
        return []
    return _options(name, given, last)


def _options(name: str, given: Sequence[str], last: str) -> list[str]:
    if name == "solve" and not given:
        return []  # what is typed is the problem
    command = importlib.import_module(f"commands.{name}")
    plugin: CompletionPlugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
    try:
        _, options = command.take_words(given) if hasattr(command, "take_words") else ({}, list(given))
        found = plugin._query(name, " ".join([*(word for word in options if "=" in word), last or " "]))
    except (*REFUSALS, HydraException, OmegaConfBaseException, ValueError):
        return []
    readable = _readable(name)
    return [each for each in found if re.split(r"[.=/]", each.lstrip("+"))[0] in readable and "\n" not in each]


def _readable(name: str) -> set[str]:
    """The options and groups of a command."""
    config = OmegaConf.load(ROOT / "conf" / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    groups = {str(group) for item in config.defaults if isinstance(item, DictConfig) for group in item}
    own = {str(option) for option in config} - {"defaults", "hydra"}
    return own | {group for group in groups if not group.startswith("override ")} | {"experiment"}
