//! Recorded answers of every provider, whole and streamed, with the total that each tells and its
//! cost by the list.

use isango_testkit::answer::{Answer, json, sse};
use isango_testkit::fixtures::cut;

use crate::usage::{aws_chunks, aws_events, recording};

/// A way to a provider, a model, recordings that all tell the same, all tokens as the provider counts
/// them, and what they cost in nano-dollars: `-` where the list does not have the price, or where
/// what it is billed by is not told. Prices are those of [`super::NOW`], in dollars for a million
/// tokens. `none`: an answer of a provider whose format tells no tokens.
const TABLE: &str = "
# 11 x 2.5 + 8 x 1.25 + 12 x 10
openai/chat/completions | gpt-4o | openai/chat.json openai/chat.sse | 31 | 157500
# 82 x 0.15 + 41 x 0.6
openai/chat/completions | gpt-4o-mini | openai/tools.json openai/tools.sse | 123 | 36900
# 5 x 1.5 + 2 x 2
openai/completions | gpt-3.5-turbo-instruct | openai/completion.json openai/completion.sse | 7 | 11500
# 21 x 1.25 + 16 x 0.125 + 91 x 10, and a search for 0.01
openai/responses | gpt-5 | openai/responses.json openai/responses.sse | 128 | 10938250
# 8 x 0.02
openai/embeddings | text-embedding-3-small | openai/embeddings.json | 8 | 160
# 10 x 5 + 40 x 10 + 1056 x 40
openai/images/generations | gpt-image-1 | openai/image.json openai/image.sse | 1106 | 42690000
openai/images/generations | dall-e-3 | openai/dalle.json | 0 | -
# 14 x 0.6 + 101 x 12
openai/audio/speech | gpt-4o-mini-tts | openai/speech.sse | 115 | 1220400
# 10 x 2.5 + 4 x 6 + 31 x 10
openai/audio/transcriptions | gpt-4o-transcribe | openai/transcript.json openai/transcript.sse | 45 | 359000
# 8.47 s of 0.36 an hour, and 9 s
openai/audio/transcriptions | whisper-1 | openai/whisper_verbose.json | 0 | 847000
openai/audio/transcriptions | whisper-1 | openai/whisper.json | 0 | 900000
openai/moderations | omni-moderation-latest | openai/moderation.json | 0 | 0
# 12 x 2.5 + 3 x 10
azure-openai/res/dep/chat/completions?api-version=2024-10-21 | any | openai/azure.json openai/azure.sse | 15 | 60000
# 12 x 3 + 2048 x 0.3 + 100 x 3.75 + 200 x 6 + 4 x 15
azure/res/anthropic/v1/messages | claude-sonnet-4-5 | anthropic/message.json | 2364 | 2285400
anthropic/v1/messages | claude-sonnet-4-5 | anthropic/message.json | 2364 | 2285400
# 472 x 3 + 1024 x 0.3 + 89 x 15
azure/res/anthropic/v1/messages | claude-sonnet-4-5 | anthropic/tools.sse | 1585 | 3058200
anthropic/v1/messages | claude-sonnet-4-5 | anthropic/tools.sse anthropic/tools.whole.json | 1585 | 3058200
# 10682 x 15 + 510 x 75, and a search for 0.01
anthropic/v1/messages | claude-opus-4-1 | anthropic/search.sse anthropic/search.whole.json | 11192 | 208480000
# 11 x 3 + 2048 x 0.3 + 100 x 3.75 + 200 x 6 + 9 x 15
BEDROCK/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse | - | bedrock/converse.json | 2368 | 2357400
# 382 x 3 + 66 x 15
BEDROCK/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream | - | bedrock/converse_stream.events | 448 | 2136000
# 14 x 3 + 500 x 0.3 + 8 x 15
BEDROCK/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke | - | bedrock/claude.whole.json | 522 | 312000
BEDROCK/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream | - | bedrock/claude.chunks | 522 | 312000
# 5 x 0.06 + 2 x 0.015 + 3 x 0.24
BEDROCK/amazon.nova-lite-v1%3A0/invoke | - | bedrock/nova.whole.json | 10 | 1050
BEDROCK/amazon.nova-lite-v1%3A0/invoke-with-response-stream | - | bedrock/nova.chunks | 10 | 1050
# 6 x 0.2 + 4 x 0.6
BEDROCK/amazon.titan-text-express-v1/invoke | - | bedrock/titan.whole.json | 10 | 3600
BEDROCK/amazon.titan-text-express-v1/invoke-with-response-stream | - | bedrock/titan.chunks | 10 | 3600
# 25 x 0.3 + 3 x 0.6
BEDROCK/meta.llama3-8b-instruct-v1%3A0/invoke | - | bedrock/llama.whole.json | 28 | 9300
BEDROCK/meta.llama3-8b-instruct-v1%3A0/invoke-with-response-stream | - | bedrock/llama.chunks | 28 | 9300
# 12 x 0.15 + 2 x 0.2
BEDROCK/mistral.mistral-7b-instruct-v0%3A2/invoke-with-response-stream | - | bedrock/mistral.chunks | 14 | 2200
# 72 x 0.3 + 900 x 0.03 + 200 x 1 + 100 x 0.1 + 258 x 0.3 + 170 x 2.5
google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent | - | gemini/answer.json | 1700 | 761000
# 11 x 1.25 + 66 x 10
google-ai-studio/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse | - | gemini/stream.sse gemini/stream.json gemini/stream.whole.json | 77 | 673750
# 9 x 0.3 + 8 x 2.5 + 1290 x 30
google-ai-studio/v1beta/models/gemini-2.5-flash-image:generateContent | - | gemini/picture.json | 1307 | 38722700
# 7 x 1.25
google-ai-studio/v1beta/models/gemini-2.5-pro:generateContent | - | gemini/refused.json | 7 | 8750
VERTEX/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse | - | gemini/stream.sse gemini/stream.json | 77 | 673750
VERTEX/google/models/imagen-4.0-generate-001:predict | - | gemini/imagen.json | 0 | -
# 9 x 3 + 5 x 15
VERTEX/anthropic/models/claude-sonnet-4-5:streamRawPredict | - | gemini/claude.sse | 14 | 102000
# 12 x 3 + 2048 x 0.3 + 100 x 3.75 + 200 x 6 + 4 x 15
VERTEX/anthropic/models/claude-sonnet-4-5:rawPredict | - | anthropic/message.json | 2364 | 2285400
# 26 x 0.282 + 3 x 0.827
workers-ai/run/@cf/meta/llama-3-8b-instruct | - | openai/workers_ai.json openai/workers_ai.sse openai/workers_ai_whole.json | 29 | 9813
# What speaks as OpenAI does, with models that are on no list of theirs.
grok/v1/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
cerebras/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
huggingface/org/model/v1/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
baseten/v1/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
parallel/v1beta/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
fireworks/chat/completions | own | openai/chat.json openai/chat.sse | 31 | -
# 36 x 0.59 + 2 x 0.79
groq/chat/completions | llama-3.3-70b-versatile | openai/groq.sse | 38 | 22820
# 10 x 0.55 + 20 x 0.14 + 9 x 2.19
deepseek/chat/completions | deepseek-reasoner | openai/deepseek.json openai/deepseek.sse | 39 | 28010
# 9 x 2 + 5 x 5
mistral/v1/chat/completions | magistral-medium-latest | openai/mistral.json openai/mistral.sse | 14 | 43000
# 7 + 2 at 1, and 0.012 for the request, its search included
perplexity-ai/chat/completions | sonar | openai/perplexity.json openai/perplexity.sse | 9 | 12009000
# 10 x 3 + 4 x 0.3 + 6 x 3.75 + 5 x 15
openrouter/v1/chat/completions | anthropic/claude-sonnet-4.5 | openai/openrouter.json openai/openrouter.sse | 25 | 128700
# 23 x 2.5 + 48 x 2.5, for which the list has no other price, + 9 x 10
cohere/v2/chat | command-a-03-2025 | cohere/chat.json | 80 | 267500
# 906 x 2.5 + 60 x 10
cohere/v2/chat | command-a-03-2025 | cohere/chat.sse cohere/chat.whole.json | 966 | 2865000
# 68 x 2.5 + 6 x 10
cohere/v1/chat | command-a-03-2025 | cohere/v1.jsonl | 74 | 230000
# 2 x 0.12
cohere/v2/embed | embed-v4.0 | cohere/embed.json | 2 | 240
cohere/v2/rerank | rerank-v3.5 | cohere/rerank.json | 0 | -
replicate/predictions | - | none | 0 | 0
cartesia/tts/bytes | - | none | 0 | 0
elevenlabs/v1/text-to-speech/voice | - | none | 0 | 0
deepgram/v1/listen | - | none | 0 | 0
fal/fal-ai/flux/dev | - | none | 0 | 0
ideogram/v1/ideogram-v3/generate | - | none | 0 | 0
adobe-firefly/v3/images/generate | - | none | 0 | 0
";

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Behind the gateway; its first segment is the provider.
    pub(super) path: String,
    pub(super) model: &'static str,
    pub(super) recordings: Vec<&'static str>,
    pub(super) total: u64,
    /// Nano-dollars; `None`: not known.
    pub(super) cost: Option<u64>,
}

pub(super) fn recorded() -> Vec<Recorded> {
    let rows = TABLE.lines().filter(|row| row.contains('|'));
    rows.map(|row| {
        let [path, model, recordings, total, cost] =
            <[&str; 5]>::try_from(row.split('|').map(str::trim).collect::<Vec<_>>()).unwrap();
        let path = path
            .replace("BEDROCK", "aws-bedrock/bedrock-runtime/us-east-1/model")
            .replace(
                "VERTEX",
                "google-vertex-ai/v1/projects/p/locations/us-central1/publishers",
            );
        Recorded {
            path,
            model,
            recordings: recordings.split(' ').collect(),
            total: total.parse().unwrap(),
            cost: cost.parse().ok(),
        }
    })
    .collect()
}

/// Whether the answer is a stream.
pub(super) fn is_stream(name: &str) -> bool {
    [".sse", ".jsonl", ".events", ".chunks", "stream.json"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The recorded answer, in odd pieces that a seed decides.
pub(super) fn answer(name: &str, seed: u64) -> Answer {
    let events = |bytes: Vec<u8>| {
        Answer::new(200)
            .header("content-type", "application/vnd.amazon.eventstream")
            .chunked(cut(&bytes.into(), 97, seed))
    };
    if name == "none" {
        return json(r#"{"status":"done"}"#);
    }
    let bytes = recording(name);
    match name.rsplit_once('.').unwrap().1 {
        "events" => events(aws_events(&bytes)),
        "chunks" => events(aws_chunks(&bytes)),
        "sse" => sse(cut(&bytes, 97, seed)),
        "jsonl" => Answer::new(200)
            .header("content-type", "application/stream+json")
            .chunked(cut(&bytes, 97, seed)),
        _json => json("").chunked(cut(&bytes, 97, seed)),
    }
}
