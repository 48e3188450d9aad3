"""An OpenAI-compatible server whose completions think."""
