"""Takes out of the library's messages what a client sent: it may be a secret, and messages are shown and logged.

graphql-core quotes values, whole input objects around them, unknown keys of these and the tokens of broken documents.
What remains says what was expected and where; names of the schema and of the document's own parts are kept.
"""

import re
from typing import Final

_AT: Final = r"((?:Variable '\$\w+' has invalid value(?: at \S+)?: )?"
_TYPE: Final = r"Expected value of type '[^']+'"
_TELLING: Final = tuple(
    (re.compile(pattern, re.DOTALL), kept)
    for pattern, kept in (
        (_AT + _TYPE + r" (?:to be an object|to include required field '\w+')), .*", r"\1."),
        # Keys of objects may be anything; a short plain word is most likely a slip of the pen.
        (_AT + _TYPE + r" not to include unknown field '[A-Za-z_]{1,24}'), found: .*", r"\1."),
        (_AT + _TYPE + r" not to include unknown field '\w{1,24}'\. Did you mean [^?]*\?) Found: .*", r"\1"),
        (_AT + _TYPE + r" not to include unknown field) .*", r"\1."),
        (_AT + _TYPE + r"), .*", r"\1."),
        (_AT + r"(?:Enum )?\S+ cannot represent [\w -]+): .*", r"\1."),
        (_AT + r"Value) '.*' (does not exist in '\w+' enum.*)", r"\1 \2"),
        (r"(There can be only one input field) named .*", r"\1 of a name."),
        (r"(Syntax Error: (?:Expected .{1,30}, found|Unexpected) (?:Name|String|BlockString|Int|Float)) '.*", r"\1."),
        (r"(Syntax Error: (?:Invalid|Unexpected) [\w ]+)[:,] .*", r"\1."),
    )
)


def without_values(message: str) -> str:
    """The message of an error of graphql-core without what a client sent as a value."""
    for pattern, kept in _TELLING:
        if found := pattern.fullmatch(message):
            return found.expand(kept)
    return message
