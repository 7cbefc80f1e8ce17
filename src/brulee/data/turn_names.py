"""What files call the parts of a turn of a chat, and who speaks in it."""

from typing import Final

# Who speaks, and what is said.
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
