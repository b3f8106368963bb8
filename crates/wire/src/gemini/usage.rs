//! What a Gemini or Vertex answer used.

use isango_types::Usage;

use crate::assemble::Members;

/// Brings a `usageMetadata` into disjoint buckets whose sum is `totalTokenCount`.
///
/// `promptTokenCount` includes cached tokens; thoughts and the prompts of tools stand beside it.
/// Details by modality split prompt, cache and candidates; video and documents are billed as text.
/// A rest of the total that no member explains are thoughts: some versions of the API count them
/// only there.
pub(super) fn generated(told: &Members<'_>) -> Usage {
    let mut prompt = told.count("promptTokenCount");
    let cached_audio = of_modality(told, "cacheTokensDetails", "AUDIO");
    let cached_image = of_modality(told, "cacheTokensDetails", "IMAGE");
    let mut cached = take(&mut prompt, told.count("cachedContentTokenCount"));
    let audio_cache_read = take(&mut cached, cached_audio);
    let audio = of_modality(told, "promptTokensDetails", "AUDIO");
    let audio_input = take(&mut prompt, audio.saturating_sub(cached_audio));
    let image = of_modality(told, "promptTokensDetails", "IMAGE");
    let image_input = take(&mut prompt, image.saturating_sub(cached_image));

    let mut answered = told.count("candidatesTokenCount");
    let audio_output = take(
        &mut answered,
        of_modality(told, "candidatesTokensDetails", "AUDIO"),
    );
    let image_output = take(
        &mut answered,
        of_modality(told, "candidatesTokensDetails", "IMAGE"),
    );

    let mut usage = Usage {
        input: prompt.saturating_add(told.count("toolUsePromptTokenCount")),
        cache_read: cached,
        audio_cache_read,
        audio_input,
        image_input,
        output: answered,
        audio_output,
        image_output,
        reasoning: told.count("thoughtsTokenCount"),
        ..Usage::default()
    };
    let rest = told.count("totalTokenCount").saturating_sub(usage.total());
    usage.reasoning = usage.reasoning.saturating_add(rest);
    usage
}

/// What a Vertex `predict` used: tokens and characters of embeddings, images made. `None` when it
/// does not tell.
pub(super) fn predicted(answer: &Members<'_>) -> Option<Usage> {
    let mut usage = Usage {
        characters: answer
            .object("metadata")
            .map_or(0, |metadata| metadata.count("billableCharacterCount")),
        ..Usage::default()
    };
    for prediction in answer.objects("predictions") {
        let statistics = prediction
            .object("embeddings")
            .and_then(|embedding| embedding.object("statistics"));
        let tokens = statistics.map_or(0, |statistics| statistics.count("token_count"));
        usage.input = usage.input.saturating_add(tokens);
        let is_image = prediction.has("bytesBase64Encoded") || prediction.has("gcsUri");
        usage.images = usage.images.saturating_add(u64::from(is_image));
    }
    (!usage.is_empty()).then_some(usage)
}

/// Tokens of one modality in a list of `{modality, tokenCount}`.
fn of_modality(told: &Members<'_>, list: &str, modality: &str) -> u64 {
    told.objects(list)
        .iter()
        .filter(|entry| entry.text("modality").as_deref() == Some(modality))
        .fold(0, |sum, entry| {
            sum.saturating_add(entry.count("tokenCount"))
        })
}

/// Takes `wanted` out of `from`, or what there is.
fn take(from: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*from);
    *from -= taken;
    taken
}
