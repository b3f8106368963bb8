//! The simulator's own page: what it offers, and how to ask for it.

use std::fmt::Write;

use crate::faults::MANUAL;

const SURFACES: &str = "\
Isango simulator: scripted model providers. Answers are made up, and equal for equal requests.

Surfaces (any non-empty key unless the simulator was given a list; up to two leading path
segments of your own are skipped):
  OpenAI        /v1/chat/completions  /v1/completions  /v1/responses  /v1/embeddings  /v1/models
                /v1/images/generations  /v1/audio/speech  /v1/audio/transcriptions
                /v1/moderations                      (also without /v1)
  Azure OpenAI  /openai/deployments/{deployment}/...  /openai/responses  /openai/models
                                                     (these need ?api-version=)
                /openai/v1/...  and all of them behind /{resource} or /azure/{resource}
  Anthropic     /v1/messages  /v1/messages/count_tokens  /v1/models
                                                     (anthropic-version needed)
  Gemini        /v1beta/models/{model}:generateContent  :streamGenerateContent[?alt=sse]
                :countTokens  :embedContent  :batchEmbedContents  /v1beta/models
  Simulator     /  /healthz  /sim/stats

";

/// The page for a simulator that is reached at `host`.
pub(crate) fn index(host: &str) -> String {
    let mut page = SURFACES.to_owned();
    page.push_str(
        "Faults, as a request header x-sim-NAME or a query key sim_NAME (with _ for -):\n",
    );
    for (name, values, meaning) in MANUAL {
        // Writing to a String cannot fail.
        writeln!(
            page,
            "  {name:<20} {meaning}\n  {:<20}   values: {values}",
            ""
        )
        .ok();
    }
    write!(
        page,
        "\nExamples:\n  \
         curl -s http://{host}/v1/chat/completions -H 'authorization: Bearer sk-any' \\\n    \
         -d '{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n  \
         curl -sN 'http://{host}/v1/chat/completions?sim_cut_after=5' -H 'authorization: Bearer sk-any' \\\n    \
         -d '{{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n  \
         curl -s http://{host}/v1/messages -H 'x-api-key: any' -H 'anthropic-version: 2023-06-01' \\\n    \
         -H 'x-sim-status: 529' -d '{{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":64,\"messages\":[]}}'\n",
    )
    .ok();
    page
}
