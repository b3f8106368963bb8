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
    let gemini = format!(r#"{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}"#);
    assert_eq!(message(&gemini), PER_IMAGE);
    let bedrock = format!(r#"{{"image":{{"format":"png","source":{{"bytes":"{data}"}}}}}}"#);
    assert_eq!(message(&bedrock), PER_IMAGE);
}

/// What `part` of a message counts.
fn part(part: &str) -> u64 {
    let of = |part: &str| {
        input(&format!(
            r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#
        ))
    };
    of(part) - of("{}")
}

#[test]
fn no_text_is_free_whatever_it_looks_like() {
    let letters = "Sawubona".repeat(4_000);
    let spoken = "Say hello, please. ".repeat(2_000);
    let encoded = STANDARD.encode(&spoken);
    let count = |text: &str| count("gpt-4o", text);
    let check = |body: &str, least: u64| {
        let counted = part(body);
        assert!(
            counted >= least,
            "{counted} of {least}: {}",
            &body[..80.min(body.len())]
        );
    };
    for text in [
        letters.clone(),
        encoded.clone(),
        format!("data:text/plain;base64,{encoded}"),
        format!("data:image/png;base64,{letters}"),
        format!("data:;base64,{spoken}"),
    ] {
        let all = count(&text);
        check(&format!(r#"{{"type":"text","text":"{text}"}}"#), all);
        check(&format!(r#"{{"content":"{text}"}}"#), all);
        assert!(input(&format!(r#"{{"prompt":"{text}"}}"#)) >= all);
        assert!(input(&format!(r#"{{"input":["{text}"]}}"#)) >= all);
        assert!(input(&format!(r#"{{"system":"{text}"}}"#)) >= all);
    }
    // What is no Unicode is no way around, either.
    check(&format!(r#"{{"text":"\ud800{spoken}"}}"#), count(&spoken));
    // Documents are texts, too.
    let all = count(&spoken);
    let plain = r#""type":"text","media_type":"text/plain""#;
    check(
        &format!(r#"{{"type":"document","source":{{{plain},"data":"{spoken}"}}}}"#),
        all,
    );
    check(
        &format!(r#"{{"type":"document","source":{{{plain},"data":"{letters}"}}}}"#),
        count(&letters),
    );
    for data in [
        format!(r#"{{"inlineData":{{"mimeType":"text/plain","data":"{encoded}"}}}}"#),
        format!(r#"{{"document":{{"format":"txt","source":{{"bytes":"{encoded}"}}}}}}"#),
        format!(r#"{{"type":"file","file":{{"file_data":"data:text/plain;base64,{encoded}"}}}}"#),
        format!(r#"{{"document_url":"data:text/plain;base64,{encoded}"}}"#),
        format!(r#"{{"image_title":"{spoken}"}}"#),
    ] {
        // Its tokens are guessed by its length.
        check(&data, all * 9 / 10);
    }
}

#[test]
fn data_counts_by_its_length() {
    let pdf = STANDARD.encode([b"%PDF-1.7\n".as_slice(), &[7; 64_000]].concat());
    let sound = STANDARD.encode([0, 1, 2, 255].repeat(16_000));
    for (body, data) in [
        (
            format!(r#"{{"type":"file","file":{{"file_data":"{pdf}"}}}}"#),
            &pdf,
        ),
        (
            format!(r#"{{"document":{{"source":{{"bytes":"{pdf}"}}}}}}"#),
            &pdf,
        ),
        (
            format!(r#"{{"input_audio":{{"data":"{sound}","format":"wav"}}}}"#),
            &sound,
        ),
        (
            format!(r#"{{"init_image":"data:image/png;base64,{sound}"}}"#),
            &sound,
        ),
    ] {
        assert_eq!(
            part(&body),
            (data.len() / DATA_PER_TOKEN) as u64,
            "{}",
            &body[..40]
        );
    }
    assert_eq!(
        part(r#"{"image_url":"https://example.com/a.png"}"#),
        PER_IMAGE
    );
    assert_eq!(part(r#"{"url":"https://example.com/a.png"}"#), 0);
}

#[test]
fn a_text_without_spaces_is_counted() {
    let letters: String = (0..64 << 10)
        .map(|at: u32| char::from_u32(97 + at * at % 26).unwrap())
        .collect();
    assert!(count("gpt-4o", &letters) > 4_096);
    assert!(count("gpt-4o", &"a".repeat(64 << 10)) > 1_024);
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
