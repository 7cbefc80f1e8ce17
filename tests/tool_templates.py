"""Chat templates with tools in the manner of the common families, for the tests' tokenizers.

hermes: JSON in <tool_call> tags, results as a user's turn (Hermes 2 Pro, Qwen 2.5).
thinks: the same, with reasoning that is kept after the last question only (Qwen 3).
llama: one call an answer, alone in its turn, its arguments called parameters (Llama 3.1).
mistral: a list of calls with ids of nine signs, tools before the last question (Mistral v3).
glues: arguments are JSON text, glued to the name, and a turn has a text (DeepSeek V3).
ignores: of a turn its role and its text, as templates without tools have it.
"""

_TOOLS = (
    "{% if tools %}<|im_start|>system\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{% elif messages[0].role == 'system' %}"
    "<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
)
_RESULT = (
    "{% elif m.role == 'tool' %}"
    "{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}"
)
_CALLS = (
    "{% for call in m.tool_calls %}{{ '\n' if m.content or not loop.first }}"
    '<tool_call>\n{"name": "{{ call.function.name }}", '
    '"arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
)
_NEXT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

HERMES = (
    _TOOLS + "{% for m in messages %}"
    "{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% if m.content %}{{ m.content }}{% endif %}" + _CALLS + "<|im_end|>\n"
    + _RESULT + "{% endif %}{% endfor %}" + _NEXT
)  # fmt: skip
THINKS = (
    _TOOLS + "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}"
    "{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% if loop.index0 > last.user and (loop.last or m.reasoning_content) %}"
    "<think>\n{{ (m.reasoning_content or '').strip() }}\n</think>\n\n{% endif %}"
    "{% if m.content %}{{ m.content }}{% endif %}" + _CALLS + "<|im_end|>\n"
    + _RESULT + "{% endif %}{% endfor %}" + _NEXT
)  # fmt: skip
LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "<|im_start|>system\n\n{{ messages[0].content | trim }}<|im_end|>{% endif %}"
    "{% set first = namespace(user=true) %}{% for m in messages %}"
    "{% if m.role == 'user' %}<|im_start|>user\n\n"
    "{% if first.user and tools is not none %}{% set first.user = false %}"
    "Call one of these functions.\n\n"
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}{% endif %}"
    "{{ m.content | trim }}<|im_end|>"
    "{% elif 'tool_calls' in m %}"
    "{% if m.tool_calls | length != 1 %}"
    "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}"
    "{% set call = m.tool_calls[0].function %}<|im_start|>assistant\n\n"
    '{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}<|eom|>'
    "{% elif m.role == 'assistant' %}"
    "<|im_start|>assistant\n\n{{ m.content | trim }}<|im_end|>"
    "{% elif m.role == 'tool' %}<|im_start|>ipython\n\n"
    "{% if m.content is mapping or m.content is iterable %}{{ m.content | tojson }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
MISTRAL = (
    "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor %}{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{% if tools is not none and loop.index0 == last.user %}"
    "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST] {{ m.content }}[/INST]"
    "{% elif m.tool_calls is defined and m.tool_calls is not none %}[TOOL_CALLS] ["
    "{% for call in m.tool_calls %}{% set out = call.function | tojson %}{{ out[:-1] }}"
    "{% if call.id is not defined or call.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}"
    '{% endif %}, "id": "{{ call.id }}"}{{ ", " if not loop.last else "]" + eos_token }}'
    "{% endfor %}"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] "
    '{"content": {{ m.content }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]'
    "{% endif %}{% endfor %}"
)
GLUES = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content }}{% for call in m.tool_calls %}"
    "{{ '<tool>' + call.function.name + '\n```json\n' + call.function.arguments + '\n```' }}"
    "{% endfor %}<|im_end|>{% endfor %}" + _NEXT
)  # fmt: skip
IGNORES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}<|im_end|>\n"
    "{% endfor %}" + _NEXT
)

TEMPLATES = {
    "hermes": HERMES,
    "thinks": THINKS,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "glues": GLUES,
    "ignores": IGNORES,
}
# Control tokens that the tests' tokenizers have beside ChatML's.
SPECIAL = ["<|eom|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
           "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]  # fmt: skip
