"""Tasks other than chat: embeddings, images, speech, transcription, token counts.

Each module is pure, like a dialect: it converts between neutral values and the wire format of an API.
``llm.engines.task_support`` says which engines have which task; ``llm.upstream.tasks`` sends the requests.
"""
