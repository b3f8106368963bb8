use super::*;

fn input(body: &str) -> u64 {
    let usage = estimate(body.as_bytes(), "", "gpt-4o");
    assert!(usage.estimated && usage.output == 0);
    usage.input
}

#[test]
fn texts_have_the_published_number_of_tokens() {
    // Examples of the cookbook: "tiktoken is great!" and "antidisestablishmentarianism".
    assert_eq!(count("gpt-4", "tiktoken is great!"), 6);
    assert_eq!(count("gpt-4o", "tiktoken is great!"), 6);
    assert_eq!(count("gpt-4-0613", "antidisestablishmentarianism"), 6);
    assert_eq!(count("azure/gpt-35-turbo", "2 + 2 = 4"), 7);
    assert_eq!(count("gpt-4", "お誕生日おめでとう"), 9);
    assert_eq!(count("gpt-4o", "お誕生日おめでとう"), 8);
    assert_eq!(count("some-model", ""), 0);
}

#[test]
fn a_conversation_counts_as_the_cookbook_does() {
    // Two messages of 3, three tokens before the answer, the roles, "Hello world" and "Hi".
    let body = r#"{"model":"gpt-4o","temperature":1,"messages":[{"role":"system","content":"Hello world"},{"role":"user","content":[{"type":"text","text":"Hi"}]}]}"#;
    assert_eq!(input(body), 2 * 3 + 3 + 1 + 2 + 1 + 1);
}

#[test]
fn images_count_as_images_and_never_as_text() {
    let data = "iVBORw0KGgo".repeat(10_000);
    let message = |part: &str| {
        input(&format!(
            r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#
        )) - 3
            - 3
            - 1
    };
    let url =
        format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#);
    assert_eq!(message(&url), PER_IMAGE);
    assert_eq!(
        message(r#"{"type":"image_url","image_url":{"url":"https://e.com/a.png","detail":"low"}}"#),
        PER_LOW_DETAIL_IMAGE
    );
    let anthropic = format!(r#"{{"type":"image","source":{{"type":"base64","data":"{data}"}}}}"#);
    assert_eq!(message(&anthropic), PER_IMAGE);
    assert_eq!(
        message(&format!(r#"{{"type":"text","text":"{data}"}}"#)),
        0,
        "whatever they are called"
    );
}

#[test]
fn prompts_of_all_kinds_are_counted() {
    assert_eq!(input(r#"{"prompt":"Hello world"}"#), 2);
    assert_eq!(
        input(r#"{"input":["Hello world","Hi"],"dimensions":256}"#),
        3
    );
    assert_eq!(input(r#"{"input":[[1,2,3],[4]]}"#), 4);
    assert_eq!(input(r#"{"prompt":[15339,1917]}"#), 2);
    assert_eq!(input(r#"{"instructions":"Hi","input":"Hello world"}"#), 3);
    assert_eq!(
        input(r#"{"contents":[{"role":"user","parts":[{"text":"Hello world"}]}]}"#),
        3 + 3 + 1 + 2
    );
    assert!(input(r#"{"tools":[{"type":"function","function":{"name":"get_weather"}}]}"#) > 5);
    assert_eq!(input("--boundary"), 0);
}

#[test]
fn speech_counts_characters_where_they_are_billed() {
    let body = r#"{"model":"tts-1","input":"Grüße!","voice":"alloy"}"#;
    let characters = Usage {
        characters: 6,
        estimated: true,
        ..Usage::default()
    };
    assert_eq!(estimate(body.as_bytes(), "", "tts-1"), characters);
    assert!(estimate(body.as_bytes(), "", "gpt-4o-mini-tts").input > 0);
}

#[test]
fn a_huge_text_is_scaled() {
    let piece = "word ".repeat(1 << 18);
    let once = count("gpt-4o", &piece);
    assert!(piece.len() < MAX_COUNTED_BYTES && once > 1 << 17);
    let many = piece.repeat(6);
    assert!(many.len() > MAX_COUNTED_BYTES);
    let counted = count("gpt-4o", &many);
    assert!(
        counted.abs_diff(6 * once) * 1000 < counted,
        "{counted} {once}"
    );
    let body = format!(r#"{{"messages":[{{"content":"{many}"}},{{"content":"{many}"}}]}}"#);
    let estimated = input(&body);
    assert!(
        estimated.abs_diff(12 * once) * 1000 < estimated,
        "{estimated}"
    );
}
