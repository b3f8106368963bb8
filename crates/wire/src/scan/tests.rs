use proptest::prelude::*;

use super::*;

fn check(body: &str, expected: &Scan<'_>) {
    assert_eq!(&scan(body.as_bytes()), expected, "{body}");
}

/// The same answers from a tree of the whole body.
fn by_tree(tree: &serde_json::Value) -> Scan<'static> {
    let Some(object) = tree.as_object() else {
        return Scan::default();
    };
    let count = |name: &str| object.get(name).and_then(serde_json::Value::as_u64);
    Scan {
        model: object
            .get("model")
            .and_then(|v| v.as_str())
            .map(|v| Cow::Owned(v.to_owned())),
        stream: object.get("stream").and_then(serde_json::Value::as_bool),
        include_usage: object
            .get("stream_options")
            .and_then(|v| v.get("include_usage"))
            .and_then(serde_json::Value::as_bool),
        has_stream_options: object.contains_key("stream_options"),
        has_data_sources: object.contains_key("data_sources"),
        max_output_tokens: count("max_completion_tokens")
            .or(count("max_output_tokens"))
            .or(count("max_tokens")),
        names_others: object
            .keys()
            .any(|name| name != "model" && names_models(name)),
        background: object.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("background")
                && !matches!(
                    value,
                    serde_json::Value::Null | serde_json::Value::Bool(false)
                )
        }),
        has_max_output_tokens: count("max_output_tokens").is_some(),
        is_object: true,
    }
}

#[test]
fn a_chat_request_is_read() {
    check(
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"model"}],"stream":true,"stream_options":{"include_usage":false},"max_tokens":5,"max_completion_tokens":7}"#,
        &Scan {
            model: Some("gpt-4o".into()),
            stream: Some(true),
            include_usage: Some(false),
            has_stream_options: true,
            max_output_tokens: Some(7),
            is_object: true,
            ..Scan::default()
        },
    );
}

#[test]
fn a_member_of_the_wrong_type_does_not_cost_the_others() {
    check(
        r#"{"stream":"yes","model":["a",{"b":1}],"max_tokens":-1,"max_output_tokens":1.5,"stream_options":[],"data_sources":null,"model2":1}"#,
        &Scan {
            has_stream_options: true,
            has_data_sources: true,
            is_object: true,
            ..Scan::default()
        },
    );
}

#[test]
fn the_last_of_two_counts_and_escaped_names_are_names() {
    check(
        r#"{"model":"a","\u006dodel":"b\n","stream":true,"stream":null}"#,
        &Scan {
            model: Some("b\n".into()),
            names_others: true,
            is_object: true,
            ..Scan::default()
        },
    );
}

#[test]
fn every_model_that_may_answer_is_told() {
    let check = |body: &str, names_others: bool, names: Option<&[&str]>| {
        assert_eq!(scan(body.as_bytes()).names_others, names_others, "{body}");
        let told = models(body.as_bytes());
        let told = told
            .as_ref()
            .map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(told.as_deref(), names, "{body}");
    };
    check(r#"{"model":"a","x":{"models":["b"]}}"#, false, Some(&["a"]));
    check(
        r#"{"model":"a","models":["b","c"]}"#,
        true,
        Some(&["a", "b", "c"]),
    );
    check(r#"{"model":"a","MODELS":["b"]}"#, true, Some(&["a", "b"]));
    check(r#"{"model":"a","model":"b"}"#, true, Some(&["a", "b"]));
    check(r#"{"model":"a","Mod\u0065l":"b"}"#, true, Some(&["a", "b"]));
    check(r#"{"MODEL":"b"}"#, true, Some(&["b"]));
    check(r#"{"model":"a","models":null}"#, true, Some(&["a"]));
    check(r#"{"model":"a","models":"b"}"#, true, None);
    check(r#"{"model":"a","models":["b",1]}"#, true, None);
    check(r#"{"model":"a","model":{}}"#, true, None);
    check(r#"{"model":"a","preset":"p"}"#, true, None);
    check("[]", false, None);
}

#[test]
fn only_whole_objects_are_read() {
    for body in [
        "",
        "[]",
        "\"model\"",
        r#"{"model":"a""#,
        r#"{"model":"a"}x"#,
        "\u{feff}{}",
    ] {
        check(body, &Scan::default());
    }
    check(
        " {} \n",
        &Scan {
            is_object: true,
            ..Scan::default()
        },
    );
}

#[test]
fn nesting_costs_no_stack() {
    let deep = format!(
        r#"{{"stream_options":{}{},"stream":true}}"#,
        "[".repeat(99_999),
        "]".repeat(99_999)
    );
    assert_eq!(scan(deep.as_bytes()).stream, Some(true));
    let deep = format!(
        r#"{{"stream_options":{{"include_usage":{}1{}}},"model":"m"}}"#,
        r#"{"include_usage":"#.repeat(9_999),
        "}".repeat(9_999)
    );
    assert_eq!(scan(deep.as_bytes()).model.as_deref(), Some("m"));
}

pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u32>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            object(inner).prop_map(Into::into),
        ]
    })
}

pub(crate) fn object(
    value: impl Strategy<Value = serde_json::Value>,
) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let name = prop_oneof![
        Just("model"),
        Just("stream"),
        Just("stream_options"),
        Just("include_usage"),
        Just("data_sources"),
        Just("max_tokens"),
        Just("max_completion_tokens"),
        Just("max_output_tokens"),
        Just("messages"),
        Just("models"),
        Just("Model"),
        Just("background"),
        Just("BackGround"),
    ]
    .prop_map(str::to_owned);
    let name = prop_oneof![4 => name, 1 => "\\PC{0,4}".prop_map(|name: String| name)];
    prop::collection::vec((name, value), 0..8).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_scan_agrees_with_a_full_parse(tree in object(json()), pretty in any::<bool>()) {
        let tree = serde_json::Value::from(tree);
        let body = if pretty { format!("{tree:#}") } else { tree.to_string() };
        prop_assert_eq!(scan(body.as_bytes()), by_tree(&tree));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _scan = scan(&body);
        let cut = br#"{"model":"gpt","stream_options":{"include_usage":true}}"#;
        let _scan = scan(&cut[..body.len() % cut.len()]);
    }
}
