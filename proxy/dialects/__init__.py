"""How containers speak: one module a dialect, translating to and from OpenAI's shapes."""
