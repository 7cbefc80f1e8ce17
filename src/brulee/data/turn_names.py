"""The names that data files use for the keys and the roles of chat turns."""

from typing import Final

# The keys of the role and of the text.
KEYS: Final = (("role", "content"), ("from", "value"))
ROLES: Final = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
