//! Tokens and credentials by command.

use super::*;
use crate::config::{Config, Sources};

#[test]
fn tokens_are_made_listed_rotated_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    let of_file = "[[gateways]]\nid = \"lab\"\n\
                   [[tokens]]\nname = \"fixed\"\nsecret = \"env:NOT_SET_ANYWHERE\"\n";
    std::fs::write(&file, of_file).unwrap();
    let token = |words: &str| {
        let (file, data) = (file.display(), folder.path().join("data"));
        isango(&format!(
            "isango token -c {file} --data-dir {} {words}",
            data.display()
        ))
    };
    let (code, text) = token(
        "create app --gateway lab --model gpt-4o* --metadata tenantId=acme --expires 2099-01-01 \
         --spend 20/month",
    );
    assert_eq!(code, 0, "{text}");
    let secret = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("token ")
        .unwrap()
        .to_owned();
    let stored = std::fs::read(folder.path().join("data/config.sqlite")).unwrap();
    assert!(!String::from_utf8_lossy(&stored).contains(&secret[4..]));
    insta::assert_snapshot!(token("list").1, @r"
    fixed  managed by file
    app    valid until 2099-01-01T00:00:00.000000Z  local/lab; models gpt-4o*; tenantId=acme; cost limit 20 per month
    ");
    let (code, json) = token("rotate app --grace 0s --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["name"]), (0, &"app".into()));
    assert!(json["token"].as_str().unwrap().starts_with("isg_"));
    assert_eq!(token("revoke app").0, 0);
    let (_, listed) = token("list --json");
    assert!(
        listed
            .lines()
            .nth(1)
            .unwrap()
            .contains("\"state\":\"revoked "),
        "{listed}"
    );
    for (words, code) in [
        ("revoke app", 1),
        ("rotate app", 1),
        ("create app", 1),
        ("revoke nobody", 1),
        // Managed by the file.
        ("revoke fixed", 2),
        ("create fixed", 2),
        // Wrong usage.
        ("create a/b", 2),
        ("create b --scope all", 2),
        ("create b --spend 5", 2),
        ("create b --spend 5/day", 2),
        ("create b --expires never", 2),
        ("create b --expires 2001-01-01", 2),
        ("create b --metadata x", 2),
        ("rotate app --grace soon", 2),
        ("rotate app --grace 91d", 2),
        (&format!("revoke {secret}"), 2),
    ] {
        assert_eq!(token(words).0, code, "{words}");
    }
    assert_eq!(token("revoke app --forget").0, 0);
    assert_eq!(token("create app").0, 0);
}

#[test]
fn a_name_that_is_written_wrongly_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = "[secrets]\nkey = \"file:key\"\n[[gateways]]\nid = \"support\"\n\
                [[gateways.targets]]\nname = \"own\"\nprovider = \"azure-openai\"\n\
                models = { our-chat = \"gpt-4o\" }\n\
                [[gateways]]\nid = \"lab\"\naccount = \"other\"\n\
                [providers.custom-acme]\nbase_url = \"https://acme.example\"";
    std::fs::write(path("isango.toml"), file).unwrap();
    std::fs::write(path("key"), "01".repeat(32)).unwrap();
    std::fs::write(path("secret"), "sk-one").unwrap();
    let run = |words: &str| {
        let (command, words) = words.split_once(' ').unwrap();
        let places = format!("-c {} --data-dir {}", path("isango.toml"), path("data"));
        isango(&format!("isango {command} {places} {words}")).0
    };
    let from = format!("--from file:{}", path("secret"));
    for (words, code) in [
        (format!("key set openai --gateway suport {from}"), 2),
        (format!("key set openai --gateway lab {from}"), 2),
        (
            format!("key set openai --gateway lab --account other {from}"),
            0,
        ),
        (format!("key set openai --gateway support {from}"), 0),
        (format!("key set openai {from}"), 0),
        (
            format!("key set openai --gateway suport --unchecked {from}"),
            0,
        ),
        ("token create a --gateway suport".into(), 2),
        ("token create b --provider opnai".into(), 2),
        (
            "token create c --gateway support --provider custom-acme --provider openai".into(),
            0,
        ),
        (
            "token create d --gateway suport --provider opnai --unchecked".into(),
            0,
        ),
        ("token create e --model gpt-4o-mni".into(), 2),
        ("token create e --model gtp-4o*".into(), 2),
        ("token create e --model our-char".into(), 2),
        (
            "token create f --model gpt-4o-2024-08-06 --model gpt-4o* --model our-chat".into(),
            0,
        ),
        ("token create g --model a-deployment-of-our-own".into(), 0),
        ("token create h --model gpt-4o-mni --unchecked".into(), 0),
    ] {
        assert_eq!(run(&words), code, "{words}");
    }
    let sources = Sources::new(Some(path("isango.toml").into()), Vec::new());
    let told = |account: &str, id: &str| Config::unknown_gateway(&sources, account, id).unwrap();
    assert_eq!(told("local", "support"), None);
    insta::assert_snapshot!(
        told("local", "suport").unwrap(),
        @"account `local` has no gateway `suport` in the configuration; did you mean `support`? (`--unchecked` takes it as it is)"
    );
}

#[test]
fn tokens_of_before_a_key_are_vouched_for_by_an_explicit_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let token = |words: &str| {
        let places = format!("-c {} --data-dir {}", path("isango.toml"), path("data"));
        isango(&format!("isango token {places} {words}"))
    };
    std::fs::write(path("isango.toml"), "").unwrap();
    assert_eq!(token("create old").0, 0);
    assert_eq!(token("seal").0, 2, "there is no key");
    std::fs::write(path("key"), "01".repeat(32)).unwrap();
    std::fs::write(path("isango.toml"), "[secrets]\nkey = \"file:key\"").unwrap();
    assert_eq!(token("create new").0, 0);
    insta::assert_snapshot!(token("list").1, @r"
    new  valid          local/*
    old  opens nothing  nobody vouches for it; if it is yours, `isango token seal` does
    ");
    assert_ne!(token("rotate old").0, 0);
    assert_eq!(token("seal"), (0, "token `old` is vouched for\n".into()));
    assert_eq!(token("seal"), (0, "no token lacks it\n".into()));
    insta::assert_snapshot!(token("list").1, @r"
    new  valid  local/*
    old  valid  local/*
    ");
}

#[test]
fn credentials_are_sealed_listed_sealed_anew_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("one"), "01".repeat(32)).unwrap();
    std::fs::write(path("two"), "02".repeat(32)).unwrap();
    std::fs::write(path("secret"), "sk-planted-7h3K9yQ2mZ4wX\n").unwrap();
    std::fs::write(
        path("aws"),
        r#"{"accessKeyId":"A","secretAccessKey":"planted"}"#,
    )
    .unwrap();
    let configure = |secrets: &str| std::fs::write(path("isango.toml"), secrets).unwrap();
    configure(
        "[secrets]\nkey = \"file:one\"\n[[tokens]]\nsecret = \"env:NOT_SET_ANYWHERE\"\n\
         [[gateways]]\nid = \"shop\"",
    );
    let key = |words: &str| {
        let (file, data) = (path("isango.toml"), path("data"));
        let words = words.replace("FOLDER", &folder.path().display().to_string());
        let (file, data) = (file.display(), data.display());
        isango(&format!("isango key -c {file} --data-dir {data} {words}"))
    };
    assert_eq!(
        key("set openai --gateway shop --from file:FOLDER/secret --rate-limit 5"),
        (0, "stored local/shop/openai/default (…Z4wX)\n".into())
    );
    assert_eq!(
        key("set aws-bedrock --alias eu --from file:FOLDER/aws").0,
        0
    );
    let stored = std::fs::read(path("data").join("config.sqlite")).unwrap();
    assert!(!String::from_utf8_lossy(&stored).contains("planted"));
    insta::assert_snapshot!(key("list").1, @r"
    local/default/aws-bedrock/eu  aws  opens
    local/shop/openai/default  …Z4wX  opens; 5 requests per 60 s
    ");
    configure("[secrets]\nkey = \"file:two\"\nprevious_key = \"file:one\"");
    let (code, json) = key("rotate --json");
    assert!(code == 0 && json.contains("\"sealed\":2"), "{json}");
    configure("[secrets]\nkey = \"file:two\"");
    assert!(key("list --json").1.contains("\"state\":\"opens\""));
    configure("[secrets]\nkey = \"file:one\"");
    assert!(
        key("list")
            .1
            .contains("does not open: it is sealed with a key")
    );
    for (words, code) in [
        ("set nothing --from file:FOLDER/secret", 2),
        ("set openai --from FOLDER/secret", 2),
        ("set openai --from file:FOLDER/nowhere", 2),
        ("set openai --from env:NOT_SET_ANYWHERE", 2),
        ("set openai --from file:FOLDER/aws", 2),
        ("set openai --alias a/b --from file:FOLDER/secret", 2),
        ("set openai --from file:FOLDER/secret --rate-limit 0", 2),
        ("rotate", 1),
        ("remove openai", 1),
        ("remove openai --gateway shop", 0),
    ] {
        assert_eq!(key(words).0, code, "{words}");
    }
    configure("");
    assert_eq!(
        key("set openai --from file:FOLDER/secret").0,
        2,
        "there is no key to seal with"
    );
    configure("[secrets]\nkey = \"short\"");
    assert_eq!(key("list").0, 2);
}
