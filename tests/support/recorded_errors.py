"""The expected client error of each recorded error, written by hand from the contract: status, code, seconds to wait.

The key is the server's own: if the provider refuses it, or its account is empty, the client gets 502.
"""

from __future__ import annotations

from collections.abc import Mapping

Row = tuple[int, str, float | None]

_BY_ROW: Mapping[Row, tuple[str, ...]] = {
    (400, "bad_request", None): (
        "anthropic/messages-400-anthropic-beta-structured-outputs-1a0519#0",
        "deepseek/chat-400-streaming-image-part-reaches-the-wire-062ed6#0",
        "deepseek/chat-422-with-stdio-with-deepseek-deepseek-chat-with-resources-adds-b-922003#0",
        "deepseek/responses-400-deepseek-responses-rejects-interleaved-function-calls-1e64a7#0",
        "google/gen-400-gemini-2-5-pro-preview-tts-streaming-1ca6d2#0",
        "groq/chat-400-meta-llama-llama-guard-4-12b-no-tool-f9608d#0",
        "groq/chat-400-tool-use-failed-error-with-text-6941e4#0",
        "groq/chat-stream-meta-llama-llama-4-scout-17b-16e-instruct-object-streaming-f4d34a#0",
        "groq/chat-stream-tool-use-failed-error-streaming-225e7e#0",
        "groq/chat-stream-tool-use-failed-error-streaming-8282cc#0",
        "groq/chat-stream-tool-use-failed-error-streaming-with-text-1c77b9#0",
        "mistral/chat-400-logprobs-rejection-matrix-streaming-ministral-3b-ad06c3#0",
        "mistral/chat-422-real-error-scenarios-mistral-mistral-small-handles-invalid-m-153c3a#0",
        "openai/chat-400-call-with-params-openai-gpt-5-mini-completions-d795c0#0",
        "openai/chat-400-crewai-test-custom-llm-within-crew-c55191#0",
        "openai/chat-400-gpt-5-chat-latest-object-streaming-aca7e0#0",
        "openai/chat-400-openai-o1-mini-system-role-system-c0b8d8#0",
        "openai/chat-400-testinputvalueimagehiding-test-input-value-hides-regular-url-f9a21e#0",
        "openai/responses-400-gpt-5-codex-object-streaming-ae17be#0",
        "openai/responses-400-llm-test-model-call-with-tools-35d938#0",
        "openai/responses-400-nonexistent-previous-response-reference-carries-identity-758b0e#0",
        "openai/responses-400-o3-deep-research-object-streaming-e5df95#0",
        "openai/responses-400-openai-responses-model-http-error-c6643d#0",
        "openai/responses-multimodal-tool-return-matrix-direct-url-audio-openai-respon-11ee01#1",
        "openrouter/chat-400-streaming-invalid-model-e3b996#0",
        "openrouter/chat-stream-openrouter-test-openrouter-stream-error-ac56e5#0",
    ),
    (400, "content_filter", None): ("azure/chat-azure-test-prompt-content-filtering-3add88#0",),
    (400, "context_length", None): (
        "ollama/chat-400-real-error-scenarios-ollama-cloud-gpt-oss-120b-handles-conte-831279#0",
        "openai/responses-400-real-error-scenarios-openai-gpt-5-nano-handles-context-lengt-904199#0",
        "openrouter/chat-400-real-error-scenarios-openrouter-claude-haiku-4-5-handles-con-b0a585#0",
    ),
    (404, "model_not_found", None): (
        "anthropic/messages-404-anthropic-beta-claude-sonnet-4-0-c25005#0",
        "anthropic/messages-404-claude-3-sonnet-20240229-streaming-9b7b57#0",
        "anthropic/messages-404-wrappers-test-anthropic-client-error-7367c7#0",
        "azure/chat-404-azure-test-chat-reasoning-592032#0",
        "google/gen-404-wrappers-test-error-handling-cbcbc4#0",
        "groq/chat-400-llama3-70b-8192-streaming-5c682d#0",
        "groq/chat-404-groq-test-tool-regular-error-5a6fae#0",
        "ollama/chat-native-404-chat-error-records-model-name-c4847a#0",
        "openai/chat-404-agents-test-agents-and-tools-e8eb2f#0",
        "openrouter/chat-404-x-ai-grok-4-fast-free-streaming-bf57ff#0",
    ),
    (413, "too_large", None): ("groq/chat-413-reconstructed-request-too-large#0",),
    (429, "rate_limited", None): (
        "anthropic/messages-429-testclient-withanthropicbetaheader-2ea3fb#0",
        "google/gen-429-testagentmultimodalgemini-test-video-file-gemini-gemini-2-0-78d096#0",
        "mistral/chat-429-e2e-testruntime-mistral-basic-baf476#0",
        "mistral/chat-429-e2e-testruntime-mistral-basic-baf476#1",
        "openai/chat-429-real-error-scenarios-openai-gpt-5-nano-handles-context-lengt-b59e2e#0",
        "openrouter/chat-429-openai-testopenrouterstreaming-b00488#0",
        "openrouter/chat-429-simple-streaming-kimi-k2-wandb-bf0531#0",
        "openrouter/chat-openrouter-test-openrouter-errors-raised-bfd2e9#0",
        "xai/chat-429-reconstructed-team-rate-limit#0",
    ),
    (429, "rate_limited", 4.0): ("anthropic/messages-429-tool-choice-test-tool-choice-none-live-3b7b8f#0",),
    (429, "rate_limited", 5.0): ("groq/chat-429-multimodal-tool-return-matrix-direct-url-audio-groq-a4733c#0",),
    (429, "rate_limited", 7.0): (
        "anthropic/messages-429-anthropic-completion-tools-part-2-fc4c63#0",
        "groq/chat-429-multimodal-tool-return-matrix-direct-url-audio-groq-a4733c#1",
    ),
    (429, "rate_limited", 48.0): (
        "google/gen-429-real-error-scenarios-gemini-gemini-2-5-flash-handles-context-d5b081#0",
    ),
    (502, "provider_auth", None): (
        "anthropic/messages-400-sync-messages-create-api-error-ea23c7#0",
        "anthropic/messages-401-streaming-connect-auth-rejection-classifies-with-contract-40078e#0",
        "anthropic/messages-401-sync-messages-create-streaming-iteration-a5f217#0",
        "azure/chat-401-error-handling-with-azure-grok-4-1-fast-non-reasoning-raises-2038a5#0",
        "deepseek/chat-401-error-handling-with-deepseek-deepseek-chat-raises-appropriat-96d7ac#0",
        "deepseek/chat-402-reconstructed-insufficient-balance#0",
        "google/gen-400-google-streaming-returns-usage-metrics-1742ea#0",
        "groq/chat-401-gemma2-9b-it-streaming-3e0673#0",
        "mistral/chat-401-error-handling-with-mistral-mistral-small-latest-raises-appr-89fdbb#0",
        "ollama/chat-401-error-handling-with-ollama-cloud-gpt-oss-120b-raises-appropr-d0df9a#0",
        "openai/responses-401-authentication-error-stream-openai-gpt-4o-responses-793492#0",
        "openai/responses-401-handshake-rejection-carries-status-body-and-request-id-986507#0",
        "openrouter/chat-401-streaming-auth-error-13416d#0",
        "xai/responses-400-error-handling-with-xai-grok-4-1-fast-non-reasoning-raises-a-e502a8#0",
    ),
    (502, "provider_error", None): (
        "azure/chat-500-real-error-scenarios-azure-grok-4-1-fast-non-reasoning-handl-2bf5d8#0",
        "mistral/chat-500-real-error-scenarios-mistral-ministral-3b-latest-handles-con-3f3cb9#0",
        "openai/chat-stream-hierarchical-crew-creation-tasks-with-async-execution-08e9b6#0",
        "openai/chat-stream-hierarchical-verbose-manager-agent-5c0f19#0",
        "openai/chat-stream-increment-delegations-for-hierarchical-process-798fb2#0",
        "openai/responses-500-real-error-scenarios-openai-gpt-4-1-nano-handles-context-len-7ff4ac#0",
        "openrouter/chat-stream-meta-llama-llama-3-3-70b-instruct-free-object-streaming-4ae266#0",
    ),
    (502, "provider_error", 1.0): ("huggingface/chat-500-together-500-on-tool-continuation-6fc900#0",),
    (502, "provider_permission", None): (
        "openai/chat-403-text-embedding-3-large-streaming-b2fc46#0",
        "openrouter/chat-403-x-ai-grok-3-mini-reasoning-basic-e7be74#0",
    ),
    (502, "upstream_malformed", None): ("mistral/chat-mistral-ocr-response-1-4bd761#0",),
    (503, "provider_overloaded", None): (
        "anthropic/messages-429-anthropic-completion-tools-part-2-fc4c63#1",
        "anthropic/messages-stream-function-calling-anthropic-claude-3-5-haiku-20241022-can-use-313558#0",
        "anthropic/messages-stream-streaming-responses-anthropic-claude-3-5-haiku-20241022-supp-44d7d9#0",
        "google/gen-503-cassettes-google-genai-v1440-575ad4#0",
        "openai/chat-503-crewai-instrumentation-context-attributes-a02888#0",
    ),
}
EXPECTED: Mapping[str, Row] = {name: row for row, names in _BY_ROW.items() for name in names}

# With the caller's own key, the caller has to act.
_EMPTY_ACCOUNTS = {
    "anthropic/messages-400-sync-messages-create-api-error-ea23c7#0",
    "deepseek/chat-402-reconstructed-insufficient-balance#0",
}
OWN_KEY: Mapping[str, Row] = {
    name: (402, "quota_exceeded", None) if name in _EMPTY_ACCOUNTS else (401, "unauthorized", None)
    for name, (_, code, _) in EXPECTED.items()
    if code in ("provider_auth", "provider_permission")
}
