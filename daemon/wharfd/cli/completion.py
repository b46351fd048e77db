"""Shell completion, written from the parser: commands, actions and options by the place on the line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
EVERYWHERE = ("--config", "--state-dir", "--url", "--json")
Places = dict[str, list[str]]

_BASH = """\
_wharfd() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} at="" word words=""
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$at/$word" in {known}) at="$at/$word" ;; esac
  done
  case "$at" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _wharfd wharfd
"""
_ZSH = """\
#compdef wharfd
_wharfd() {{
  local at="" word choices=""
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$at/$word" in {known}) at="$at/$word" ;; esac
  done
  case "$at" in
{cases}
  esac
  compadd -- ${{=choices}} || _files
}}
compdef _wharfd wharfd
"""
_FISH = """\
function __wharfd_at
  set -l at ""
  for word in (commandline -opc)[2..-1]
    switch "$at/$word"
      case {known}
        set at "$at/$word"
    end
  end
  test "$at" = "$argv[1]"
end
{cases}
"""


def places(parser: argparse.ArgumentParser) -> Places:
    """Return what can be typed at each place: `""` is behind `wharfd`, `/work` behind `wharfd work`."""
    return {at: [*words, *EVERYWHERE] for at, words in _walk(parser, "")}


def _walk(parser: argparse.ArgumentParser, at: str) -> Iterator[tuple[str, list[str]]]:
    words: list[str] = []
    for action in parser._actions:
        words += [name for name in action.option_strings if name.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            words += list(action.choices)
            for name, inner in action.choices.items():
                yield from _walk(inner, f"{at}/{name}")
        elif action.choices:
            words += [str(choice) for choice in action.choices]
    yield at, words


def script(shell: str, found: Places) -> str:
    """Return the completion script of a shell."""
    known = sorted(at for at in found if at)
    if shell == "fish":
        cases = [f"complete -c wharfd -f -n '__wharfd_at \"{at}\"' -a '{' '.join(words)}'"
                 for at, words in sorted(found.items())]  # fmt: skip
        return _FISH.format(known=" ".join(known), cases="\n".join(cases))
    variable, template = ("words", _BASH) if shell == "bash" else ("choices", _ZSH)
    lines = [f'    "{at}") {variable}="{" ".join(words)}" ;;' for at, words in sorted(found.items())]
    return template.format(known="|".join(known), cases="\n".join(lines))
