"""The other APIs that agents speak, as translations to and from OpenAI's chat."""
