"""The names that data files use for the keys and the roles of chat turns."""

from typing import Final

# The keys of the role and of the text.
KEYS: Final = (("role", "content"), ("from", "value"), ("role", "parts"))
ROLES: Final = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
