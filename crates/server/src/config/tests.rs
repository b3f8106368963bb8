use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use isango_types::key::Digest;

use super::keys::{LATER, Unset};
use super::*;

mod described;
mod limits;
mod policies;
mod wrong;

fn sources(variables: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> Sources {
    Sources {
        file: None,
        environment: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags
            .iter()
            .map(|(name, key, value)| Flag {
                name,
                key,
                value: (*value).to_owned(),
            })
            .collect(),
    }
}

pub(super) fn load(text: &str) -> Config {
    Config::parse(text, &Sources::default()).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn refused(text: &str) -> String {
    refused_with(text, &Sources::default())
}

fn refused_with(text: &str, sources: &Sources) -> String {
    Config::parse(text, sources).unwrap_err().to_string()
}

#[test]
fn everything_has_a_default() {
    let config = load("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8700");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8701");
    assert_eq!(config.data_dir, PathBuf::from("./isango-data"));
    assert_eq!(config.server.header_timeout, Some(Duration::from_secs(10)));
    assert_eq!(config.server.first_byte_timeout, None);
    assert_eq!(config.upstream.http2, Http2::Auto);
    assert_eq!(config.records.retention_bytes, None);
    assert_eq!(
        config.log,
        LogSettings {
            level: "info".into(),
            format: LogFormat::Text
        }
    );
    assert_eq!(config.tls, None);
    assert!(!config.default_gateway.authentication);
    assert_eq!(config.warnings, [""; 0]);
    assert!(config.snapshot().gateway("any", "default").is_some());
}

#[test]
fn a_gateway_without_settings_is_the_default_one() {
    let config = load("[[gateways]]\nid = \"a\"");
    let mut expected = isango_types::Gateway::new("local", "a");
    expected.origin = isango_types::gateway::Origin::File;
    let read = &config.gateways[0];
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
}

#[test]
fn a_whole_configuration_is_read() {
    let text = r#"
        listen = "127.0.0.1:1"
        [server]
        first_byte_timeout = "1m30s"
        [records]
        max_queue_bytes = "128MiB"
        [log]
        format = "json"
        [providers.custom-acme]
        base_url = "https://ai.acme.example/v1"
        headers = { X-Team = "${TEAM}-1" }
        [[tokens]]
        name = "app"
        secret = "env:APP_TOKEN"
        gateways = ["support"]
        metadata = { tenantId = "acme", seats = 3, beta = true }
        [[gateways]]
        id = "support"
        authentication = true
        max_request_bytes = 20_000_000
        [[gateways.targets]]
        name = "sa"
        provider = "azure-openai"
        resource = "aoai-sa"
        credential = "env:AOAI_KEY"
        models = { chat = "gpt-4o" }
        [[gateways.targets]]
        name = "acme"
        provider = "custom-acme"
        [[gateways]]
        id = "quick"
        first_byte_timeout = "5s"
    "#;
    let environment = [
        ("TEAM", "red"),
        ("APP_TOKEN", "isg_0123456789abcdef"),
        ("AOAI_KEY", "sk-1"),
    ];
    let config = Config::parse(text, &sources(&environment, &[])).unwrap();
    let [support, quick] = &config.gateways[..] else {
        panic!("{:?}", config.gateways)
    };
    assert!(support.authentication);
    assert_eq!(support.max_request_bytes, 20_000_000);
    assert_eq!(support.timeouts.first_byte, Some(Duration::from_secs(90)));
    assert_eq!(quick.timeouts.first_byte, Some(Duration::from_secs(5)));
    let [azure, acme] = &support.targets[..] else {
        panic!("{:?}", support.targets)
    };
    assert_eq!(
        azure
            .credential
            .as_ref()
            .and_then(|one| one.secrets().next())
            .map(|secret| secret.expose()),
        Some("sk-1")
    );
    assert_eq!(&*azure.models["chat"], "gpt-4o");
    assert_eq!(&*acme.provider, "custom-acme");
    let custom = config
        .providers
        .iter()
        .find(|one| &*one.slug == "custom-acme")
        .unwrap();
    assert_eq!(
        (&*custom.headers[0].0, custom.headers[0].1.expose()),
        ("x-team", "red-1")
    );
    let token = &config.tokens[0];
    let sha256 = check::sha256("isg_0123456789abcdef");
    assert_eq!(token.digests, [Digest::lasting(sha256)]);
    assert_eq!(token.metadata.len(), 3);
    assert!(token.opens("local", "support") && !token.opens("local", "quick"));
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(
        !format!("{config:?}").contains("sk-1"),
        "a secret in the debug output"
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let listen = |sources: &Sources| {
        let text = "listen = \"127.0.0.1:1\"\n[server]\nheader_timeout = \"1s\"";
        let config = Config::parse(text, sources).unwrap();
        (
            config.listen.port(),
            config.server.header_timeout.unwrap().as_secs(),
        )
    };
    let environment = [
        ("ISANGO_LISTEN", "127.0.0.1:2"),
        ("ISANGO_SERVER__HEADER_TIMEOUT", "2s"),
    ];
    let flags = [("--listen", "listen", "127.0.0.1:3")];
    assert_eq!(listen(&sources(&[], &[])), (1, 1));
    assert_eq!(listen(&sources(&environment, &[])), (2, 2));
    assert_eq!(listen(&sources(&environment, &flags)), (3, 2));
    assert_eq!(listen(&sources(&[("ISANGO_LISTEN", "")], &[])), (1, 1));
}

#[test]
fn a_section_can_come_from_the_environment_alone() {
    let environment = [
        ("ISANGO_LOG__LEVEL", "debug"),
        ("ISANGO_SERVER__MAX_CONNECTIONS", "7"),
    ];
    let config = Config::parse("", &sources(&environment, &[])).unwrap();
    assert_eq!(
        (config.log.level.as_str(), config.server.max_connections),
        ("debug", 7)
    );
}

/// A value that no key accepts, beside whatever makes its section complete.
fn set(path: &str, value: &str) -> String {
    let mut text = String::new();
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = String::new();
    for part in section.split('.').filter(|part| !part.is_empty()) {
        let dot = if at.is_empty() { "" } else { "." };
        at = format!(
            "{at}{dot}{}",
            part.trim_end_matches("[]").replace('*', "openai")
        );
        let header = if part.ends_with("[]") {
            format!("[[{at}]]")
        } else {
            format!("[{at}]")
        };
        writeln!(text, "{header}").unwrap();
    }
    writeln!(text, "{name} = {value}").unwrap();
    text
}

#[test]
fn beyond_loopback_an_open_gateway_is_refused() {
    let open = "listen = \"0.0.0.0:8700\"\n[[gateways]]\nid = \"a\"";
    insta::assert_snapshot!(refused(open), @r#"
    configuration:1:10: 0.0.0.0:8700 can be reached from other machines, but gateway `a` asks for no token
      1 | listen = "0.0.0.0:8700"
        |          ^^^^^^^^^^^^^^
      help: set `authentication = true` and make a token (`isango token create`), listen on 127.0.0.1, or allow it with `allow_unauthenticated = true` (`--allow-unauthenticated`)
    "#);
}

#[test]
fn beyond_loopback_the_unconfigured_gateway_asks_for_a_token() {
    for open in ["0.0.0.0:8700", "[::]:8700"] {
        let config = load(&format!("listen = \"{open}\""));
        assert!(config.default_gateway.authentication, "{open}");
    }
    assert!(!load("").default_gateway.authentication);
    let allowed = load("listen = \"0.0.0.0:8700\"\nallow_unauthenticated = true");
    assert!(!allowed.default_gateway.authentication);
}

#[test]
fn two_listeners_need_two_addresses() {
    let check = |listen: &str, admin: &str| {
        let text = format!(
            "allow_unauthenticated = true\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\""
        );
        Config::parse(&text, &Sources::default()).is_ok()
    };
    assert!(check("127.0.0.1:0", "127.0.0.1:0"));
    assert!(check("127.0.0.1:1", "127.0.0.2:1"));
    assert!(!check("127.0.0.1:1", "127.0.0.1:1"));
    assert!(!check("0.0.0.0:1", "127.0.0.1:1"));
}

#[test]
fn files_must_be_there_and_are_found_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    std::fs::write(folder.path().join("cert.pem"), "").unwrap();
    std::fs::write(folder.path().join("token"), "isg_0123456789abcdef\n").unwrap();
    let sources = Sources {
        file: Some(file.clone()),
        ..Sources::default()
    };
    let token = "[[tokens]]\nname = \"app\"\nsecret = \"file:token\"\n";
    std::fs::write(
        &file,
        format!("{token}[tls]\ncert = \"cert.pem\"\nkey = \"cert.pem\""),
    )
    .unwrap();
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.tls.unwrap().cert, folder.path().join("cert.pem"));
    assert_eq!(
        config.tokens[0].digests,
        [Digest::lasting(check::sha256("isg_0123456789abcdef"))]
    );
    std::fs::write(&file, "[tls]\ncert = \"missing.pem\"").unwrap();
    let error = Config::load(&sources).unwrap_err();
    let messages: Vec<_> = error
        .problems
        .iter()
        .map(|problem| &*problem.message)
        .collect();
    assert!(
        messages[0].contains("missing.pem` cannot be read"),
        "{messages:?}"
    );
    assert_eq!(messages[1], "`tls.cert` needs `tls.key` beside it");
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_name() {
    let sources = Sources {
        file: Some("/nowhere/isango.toml".into()),
        ..Sources::default()
    };
    let error = Config::load(&sources).unwrap_err().to_string();
    assert!(
        error.starts_with("/nowhere/isango.toml: cannot be read: "),
        "{error}"
    );
}

#[test]
fn a_public_key_that_is_no_text_is_no_want_of_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    std::fs::write(folder.path().join("key.der"), [0x30, 0x82, 0x01, 0x22]).unwrap();
    let export = "[[exports]]\nname = \"a\"\ndestination = \"https://logs.example.com/in\"\n";
    std::fs::write(&file, format!("{export}public_key_file = \"key.der\"")).unwrap();
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    let told = Config::load(&sources).unwrap_err().to_string();
    assert!(told.contains("no public key in PEM"), "{told}");
}

#[test]
fn the_data_dir_is_found_without_knowing_any_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    let find = |variables: &[(&str, &str)]| {
        let file = Some(file.clone());
        Config::data_dir(&Sources {
            file,
            ..sources(variables, &[])
        })
    };
    std::fs::write(
        &file,
        "data_dir = \"d\"\n[[tokens]]\nsecret = \"env:UNSET\"",
    )
    .unwrap();
    assert_eq!(
        find(&[("ISANGO_LISTEN", "wrong")]).unwrap(),
        folder.path().join("d")
    );
    assert_eq!(
        find(&[("ISANGO_DATA_DIR", "e")]).unwrap(),
        PathBuf::from("e")
    );
    std::fs::write(&file, "").unwrap();
    assert_eq!(find(&[]).unwrap(), PathBuf::from("./isango-data"));
    std::fs::write(&file, "data_dir = 1").unwrap();
    assert!(find(&[]).is_err());
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = r#"
admin_listen = "0.0.0.0:8701"
[[gateways]]
id = "locked"
authentication = true
[[gateways.targets]]
name = "one"
provider = "openai"
[[gateways.targets]]
name = "two"
provider = "openai"
"#;
    insta::assert_snapshot!(load(text).warnings.join("\n"), @r"
    metrics and health at `admin_listen` (0.0.0.0:8701) can be read from other machines without a token
    target `two` of gateway `locked` is never used: `one` before it takes the same requests
    ");
}

pub(super) const TARGETS: &str = r#"
[[gateways.targets]]
name = "sa"
provider = "azure-openai"
resource = "sa"
region = "southafricanorth"
first_byte_timeout = "0s"
[[gateways.targets]]
name = "eu"
provider = "azure-openai"
resource = "eu"
region = "westeurope"
api_version = "2025-01-01-preview"
[[gateways.targets]]
name = "main"
provider = "openai"
idle_timeout = "5s"
[[gateways.targets]]
name = "claude"
provider = "anthropic"
"#;

/// A provider of identities with a key's example.
fn single_sign_on(key: &keys::Key) -> String {
    let mut text = "dashboard_url = \"https://isango.example.com\"\n[oidc]\n".to_owned();
    for (name, value) in [
        ("issuer", "\"https://login.example.com\""),
        ("client_id", "\"isango\""),
        ("default_role", "\"viewer\""),
    ] {
        if name != key.name() {
            writeln!(text, "{name} = {value}").unwrap();
        }
    }
    let is_secret = key.kind == value::Kind::Secret;
    let example = if is_secret {
        "\"5a5a5a5a5a5a5a5a\""
    } else {
        key.example
    };
    writeln!(text, "{} = {example}", key.name()).unwrap();
    text
}

#[test]
fn settings_that_need_a_restart_are_named_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("a.pem");
    std::fs::write(&pem, "").unwrap();
    let at_once = [
        "allow_unauthenticated",
        "server.first_byte_timeout",
        "server.allowed_hosts",
        "server.allowed_origins",
        "log.level",
        "logpush.allow_private",
        "records.durability",
        "custom_providers.allow_private",
        "secrets.key",
        "secrets.previous_key",
    ];
    let sealed = format!(
        "[secrets]\nkey = \"{0}\"\nprevious_key = \"{0}\"",
        "5a".repeat(32)
    );
    let old = load("");
    for key in keys::all().filter(|key| key.env().is_some()) {
        let text = match (key.path, key.kind) {
            ("tls.cert" | "tls.key", _) => format!("[tls]\ncert = {pem:?}\nkey = {pem:?}"),
            (path, _) if path.starts_with("oidc.") => single_sign_on(key),
            (_, value::Kind::Path) => set(key.path, &format!("{pem:?}")),
            (_, value::Kind::Secret) => sealed.clone(),
            _ if key.path == "listen" => set(key.path, "\"127.0.0.1:5\""),
            _ => set(key.path, key.example),
        };
        let named = old.needs_restart(&load(&text));
        let is_of = |one: &&str| key.path == *one || key.path.starts_with(&format!("{one}."));
        let named = named.iter().any(is_of);
        assert_eq!(named, !at_once.contains(&key.path), "{}", key.path);
    }
    assert_eq!(old.needs_restart(&old), [""; 0]);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_panics(text in "[\\[\\]a-z_.=\"'{}$é\n 0-9#]{0,80}") {
            if let Err(error) = Config::parse(&text, &Sources::default()) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
