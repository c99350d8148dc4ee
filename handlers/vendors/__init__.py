"""APIs of single vendors that are not those of OpenAI or Ollama."""
