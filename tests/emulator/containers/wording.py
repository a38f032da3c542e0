"""Words for the demo's chat model: a short, cheerful answer that depends on the question alone."""

import re
from hashlib import sha256

_OPENINGS = (
    "“{question}” — now that is a question worth a warm GPU.",
    "You said “{question}”, and I have been thinking about nothing else for at least 30 ms.",
    "Ah, “{question}”. My whole training set (a single file of Python) led up to this moment.",
    "“{question}”? Gladly ☕.",
)
_MIDDLES = (
    "I am no large language model: I pick these sentences by a hash of what you write, so the "
    "same question always gets the same answer.",
    "Every word of mine travelled from a container through an AWS event stream, was cut in "
    "awkward places on the way — even in the middle of an é or a 🦉 — and was put back together "
    "for you.",
    "Between you and me there are one TLS handshake, one API key and one SigV4 signature, and "
    "none of them minded.",
    "A real model would now write eight paragraphs; I prefer to keep it to three sentences.",
)
_CLOSINGS = (
    "Put your own model behind the same address and it will answer here just as well.",
    "Ask me again with “stream”: true, and watch the words arrive one at a time.",
    "Give me a tool and mention its name, and I will call it.",
    "That is all I know, and I know it with great confidence. 世界, over to you!",
)
_TOPICS = (
    (
        r"\bjoke\b",
        "Here is one: a request walks into a bar. The barman says “403”. The request says “But "
        "I signed for it!” — “Yes, sir, five minutes ago.”",
    ),
    (
        r"\b(poem|haiku|verse)\b",
        "Signed at break of day, / a small request finds its way: / two hundred, okay. 🌸",
    ),
    (
        r"\bwho are you\b|\byour name\b",
        "I am the demo model, a few dozen lines of Python that speak like a vLLM container.",
    ),
    (
        r"\b(hello|hi|hey|good (morning|evening))\b",
        "Hello! 👋 How good of you to begin with a greeting; most requests just start shouting "
        "JSON.",
    ),
)
_LONGEST_QUOTE = 120


def answer(question: str) -> str:
    """Return a few sentences about the question."""
    words = " ".join(question.split())
    if not words:
        return "You said nothing at all, and I agree — silence is a fine prompt. 🤫"
    if len(words) > _LONGEST_QUOTE:
        words = words[:_LONGEST_QUOTE].rstrip() + "…"
    digest = sha256(question.encode()).digest()
    topic = next((text for pattern, text in _TOPICS if re.search(pattern, words.lower())), None)
    opening = _OPENINGS[digest[0] % len(_OPENINGS)].format(question=words)
    middle = topic or _MIDDLES[digest[1] % len(_MIDDLES)]
    closing = _CLOSINGS[digest[2] % len(_CLOSINGS)]
    return f"{opening} {middle} {closing}"


def answer_to_tool(result: str) -> str:
    """Return what to say once a tool has done its work."""
    return f"The tool came back with “{' '.join(result.split())}” — so there you have it. 🛠️"


def tokens(text: str) -> list[str]:
    """Split a text into words, each with the space behind it; joined they are the text again."""
    return re.findall(r"\s*\S+\s*$|\s*\S+\s?|\s+", text)
