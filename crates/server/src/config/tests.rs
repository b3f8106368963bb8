use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use isango_types::key::Digest;

use super::keys::{LATER, Unset};
use super::*;

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
fn no_described_key_is_ignored() {
    for key in keys::all() {
        let error = refused(&set(key.path, "[[]]"));
        let expected = format!(
            "`{}` must be {}; found a list",
            key.name(),
            key.kind.expected()
        );
        assert!(error.contains(&expected), "{}: {error}", key.path);
    }
}

#[test]
fn every_default_and_every_example_is_accepted() {
    for key in keys::all() {
        let about_it = |text: &str| {
            let error = Config::parse(text, &Sources::default()).err();
            let problems = error.map(|error| error.problems).unwrap_or_default();
            let expected = format!("`{}` must be", key.name());
            problems
                .into_iter()
                .find(|problem| problem.message.starts_with(&expected))
        };
        assert_eq!(about_it(&set(key.path, key.example)), None, "{}", key.path);
        if let Unset::Is(default) = key.default {
            let is_flag = key.kind == value::Kind::Flag;
            let written = if is_flag {
                default.to_owned()
            } else {
                format!("{default:?}")
            };
            assert_eq!(about_it(&set(key.path, &written)), None, "{}", key.path);
        }
    }
}

#[test]
fn keys_are_described_once_and_later_ones_not_at_all() {
    let paths: BTreeSet<_> = keys::all().map(|key| key.path).collect();
    assert_eq!(paths.len(), keys::all().count());
    for later in LATER {
        assert!(!paths.contains(later.path), "{}", later.path);
        let error = refused(&set(later.path, "1"));
        let expected = format!(
            "is not available in this version (0.1): {} is not",
            later.what
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn every_key_of_a_price_row_is_described() {
    let row = toml::from_str::<isango_types::price::PriceRow>("surely_unknown = 1");
    let error = row.unwrap_err().to_string();
    let known = error.split_once("expected one of").unwrap().1;
    let known: BTreeSet<_> = known.split('`').skip(1).step_by(2).collect();
    let described: BTreeSet<_> = keys::names_in("prices[]").into_iter().collect();
    assert_eq!(known, described);
}

#[test]
fn a_configured_price_wins_over_the_list() {
    let text = r#"
        [[prices]]
        provider = "azure-openai"
        model = "gpt-4o"
        input = 1
        output = "2.50"
        effective_from = 2020-01-01
        above = [{ tokens = 1000, input = 3.5 }]
    "#;
    let usage = isango_types::Usage {
        input: 1_000,
        output: 100,
        ..Default::default()
    };
    let now = isango_types::Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
    let cost = load(text)
        .prices
        .cost("azure-openai", "gpt-4o", &usage, now);
    assert_eq!(cost.nanousd, Some(1_250_000));
}

#[test]
fn a_wrong_price_is_told_with_its_place() {
    let text = r#"
[[prices]]
provider = "openai"
input = "1,5"
[[prices]]
provider = "openai"
model = "a"
outputs = 1
[[prices]]
provider = "openai"
model = "a"
input = 1
above = [{ tokens = 1000, inputs = 3.5 }]
[[prices]]
provider = "openai"
model = "a"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:2:1: `model` is missing
      2 | [[prices]]
        | ^^^^^^^^^^
      help: write for instance `model = "gpt-4o"`
    configuration:4:9: `input` must be an amount in US dollars, such as 2.5 or "0.000125"; found another text
      4 | input = "1,5"
        |         ^^^^^
    configuration:8:1: unknown key `outputs` in [[prices]]
      8 | outputs = *
        | ^^^^^^^
      help: did you mean `output`?
    configuration:13:10: unknown field `inputs`, expected `tokens` or `the key of a rate`
      13 | above = [{ tokens = 1000, inputs = 3.5 }]
         |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    configuration:14:1: the price of `openai/a` names no rate
      14 | [[prices]]
         | ^^^^^^^^^^
    "#);
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == markdown(),
        "docs/configuration.md has drifted; write it anew: \
         cargo run -p isango-server -- config reference > docs/configuration.md"
    );
}

#[test]
fn a_misspelled_key_is_told_with_the_nearest() {
    insta::assert_snapshot!(refused("lisen = \"127.0.0.1:1\"\n"), @r"
    configuration:1:1: unknown key `lisen`
      1 | lisen = *************
        | ^^^^^
      help: did you mean `listen`?
    ");
}

#[test]
fn a_key_in_the_wrong_section_is_told_with_the_right_one() {
    insta::assert_snapshot!(refused("header_timeout = \"1s\"\n[server]\nlevel = \"info\""), @r#"
    configuration:1:1: unknown key `header_timeout`
      1 | header_timeout = "1s"
        | ^^^^^^^^^^^^^^
      help: did you mean `server.header_timeout`?
    configuration:3:1: unknown key `level` in [server]
      3 | level = "info"
        | ^^^^^
      help: did you mean `log.level`?
    "#);
}

#[test]
fn several_problems_are_told_at_once_in_their_order() {
    let text = r#"
listen = "localhost:8700"
[server]
header_timeout = 10
max_connections = 0
[upstream]
http2 = "yes"
[[gateways]]
id = "Support"
guards = []
collect_logs = "maybe"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:2:10: `listen` must be an IP address with a port, such as "127.0.0.1:8700"; found another text
      2 | listen = "localhost:8700"
        |          ^^^^^^^^^^^^^^^^
    configuration:4:18: `header_timeout` must be a duration of at most 1d, such as "10s"; found a number
      4 | header_timeout = 10
        |                  ^^
    configuration:5:19: `max_connections` must be a whole number from 1 to 1000000; found a number
      5 | max_connections = 0
        |                   ^
    configuration:7:9: `http2` must be "auto", "never" or "always"; found another text
      7 | http2 = "yes"
        |         ^^^^^
    configuration:9:6: `id` must be 1 to 64 of a-z, 0-9 and `_`, with single `-` between them; found another text
      9 | id = "Support"
        |      ^^^^^^^^^
    configuration:10:1: `guards` is not available in this version (0.1): guarding content is not built yet
      10 | guards = **
         | ^^^^^^
    configuration:11:16: `collect_logs` must be true or false; found another text
      11 | collect_logs = "maybe"
         |                ^^^^^^^
    "#);
}

#[test]
fn a_mistake_of_syntax_is_told_with_its_place() {
    insta::assert_snapshot!(refused("a = 1\nlisten = 127.0.0.1:8700\n"), @r#"
    configuration:2:15: not TOML: invalid float, expected nothing
      2 | listen = 127.0.0.1:8700
        |               ^^^^^^^^^
      help: texts stand in quotes: `listen = "127.0.0.1:8700"`
    "#);
}

#[test]
fn a_secret_in_a_wrong_line_is_not_shown() {
    let lines = [
        "[[gateways.targets]]\ncredential = sk-planted",
        "[[gateways]]\nid = \"a\"\n[[gateways.targets]]\ncredentail = \"sk-planted\"",
        "[[gateways]]\nid = \"a\"\n[[gateways.targets]]\ncredential = [\"sk-planted\"]",
        "[providers.openai]\nheaders = \"sk-planted\"",
        "[providers.openai]\nheaders = { x-key = 5, other = \"sk-planted\" }",
        "[providers.openai]\nbase_url = \"https://user:sk-planted@example.com\"",
        "[[tokens]]\nname = \"a\"\nsecret = \"sk-planted\"",
        "[[tokens]]\nname = \"a\"\nsecret = \"\"\"\nsk-planted\n",
        "tokens = [{ name = \"a\", secret = \"sk-planted\", x = 1 }]",
        "key = \"sk-planted\"",
    ];
    for line in lines {
        let error = refused(line);
        assert!(!error.contains("planted"), "{error}");
    }
}

#[test]
fn a_later_key_is_told_apart_from_an_unknown_one() {
    let text = "[storage]\nconfig = \"postgres://x\"\n[[gateways]]\nid = \"a\"\nguards = []";
    insta::assert_snapshot!(refused(text), @r"
    configuration:1:2: `storage` is not available in this version (0.1): choosing other stores than the embedded one is not built yet
      1 | [storage]
        |  ^^^^^^^
    configuration:5:1: `guards` is not available in this version (0.1): guarding content is not built yet
      5 | guards = **
        | ^^^^^^
    ");
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let environment = [
        ("ISANGO_SERVER__HEADER_TIMEOUT", "ten"),
        ("ISANGO_SERVER__HEADER_TIMEOUTS", "1s"),
        ("ISANGO_LISTENS", "127.0.0.1:1"),
        ("ISANGO_SUPPORT_TOKEN", "isg_0123456789abcdef"),
    ];
    insta::assert_snapshot!(refused_with("", &sources(&environment, &[])), @r#"
    ISANGO_LISTENS: sets nothing that is known
       | ISANGO_LISTENS=
       |                ^
      help: did you mean `ISANGO_LISTEN`?
    ISANGO_SERVER__HEADER_TIMEOUT: `header_timeout` must be a duration of at most 1d, such as "10s"; found another text
       | ISANGO_SERVER__HEADER_TIMEOUT=ten
       |                               ^^^
    ISANGO_SERVER__HEADER_TIMEOUTS: sets nothing that is known
       | ISANGO_SERVER__HEADER_TIMEOUTS=
       |                                ^
      help: did you mean `ISANGO_SERVER__HEADER_TIMEOUT`?
    "#);
}

#[test]
fn a_wrong_flag_is_told_by_its_name() {
    let flags = [("--listen", "listen", "8700")];
    insta::assert_snapshot!(refused_with("", &sources(&[], &flags)), @r#"
    --listen: `listen` must be an IP address with a port, such as "127.0.0.1:8700"; found another text
       | --listen=8700
       |          ^^^^
    "#);
}

#[test]
fn entities_that_do_not_fit_together_are_told() {
    let text = r#"
[[gateways]]
id = "support"
[[gateways.targets]]
name = "sa"
provider = "azure-openia"
[[gateways.targets]]
name = "eu"
provider = "azure-openai"
[[gateways.targets]]
name = "eu"
provider = "openai"
base_url = "https://{resource}.example.com"
[[gateways]]
id = "support"
[[gateways]]
account = "local"
[[tokens]]
name = "app"
secret = "isg_0123456789abcdef"
gateways = ["suport"]
[[tokens]]
name = "app2"
secret = "isg_0123456789abcdef"
digest = "sha256:00"
[[tokens]]
name = "app3"
[providers.custom-a]
[providers.opnai]
base_url = "https://example.com"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:6:12: there is no provider `azure-openia`
      6 | provider = "azure-openia"
        |            ^^^^^^^^^^^^^^
      help: did you mean `azure-openai`?
    configuration:7:1: target `eu` needs a `resource`: the address of `azure-openai` is https://{resource}.openai.azure.com
      7 | [[gateways.targets]]
        | ^^^^^^^^^^^^^^^^^^^^
      help: write `resource = "…"`
    configuration:11:8: target `eu` is defined twice
      11 | name = "eu"
         |        ^^^^
      help: the first stands in line 8
    configuration:13:12: the paths of `openai` do not fill `{resource}`; they fill []
      13 | base_url = "https://{resource}.example.com"
         |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    configuration:15:6: gateway `support` of account `local` is defined twice
      15 | id = "support"
         |      ^^^^^^^^^
      help: the first stands in line 3
    configuration:16:1: `id` is missing
      16 | [[gateways]]
         | ^^^^^^^^^^^^
      help: write for instance `id = "support"`
    configuration:21:12: account `local` has no gateway `suport`
      21 | gateways = ["suport"]
         |            ^^^^^^^^^^
      help: did you mean `support`?
    configuration:25:10: `digest` must be `sha256:` and 64 hex digits; found another text
      25 | digest = "sha256:00"
         |          ^^^^^^^^^^^
    configuration:25:10: `secret` and `digest` exclude each other
      25 | digest = "sha256:00"
         |          ^^^^^^^^^^^
    configuration:25:10: tokens `app` and `app2` are the same token
      25 | digest = "sha256:00"
         |          ^^^^^^^^^^^
    configuration:27:8: `secret` or `digest` is missing
      27 | name = "app3"
         |        ^^^^^^
      help: `isango token create` makes a token and its digest
    configuration:28:12: `custom-a` needs a `base_url`, such as "https://api.example.com/v1"
      28 | [providers.custom-a]
         |            ^^^^^^^^
    configuration:29:12: no provider `opnai` is built in; a provider of your own is called `custom-<name>`
      29 | [providers.opnai]
         |            ^^^^^
      help: did you mean `openai`?
    "#);
}

#[test]
fn sections_of_the_wrong_shape_are_told() {
    insta::assert_snapshot!(refused("server = 1\ntokens = \"a\"\n[gateways]\nid = \"a\""), @r"
    configuration:1:10: [server] must be a table; found a number
      1 | server = *
        |          ^
    configuration:2:10: [[tokens]] is a list of tables; found another text
      2 | tokens = ***
        |          ^^^
      help: begin each one with [[tokens]]
    configuration:3:1: [[gateways]] is a list of tables; found a table
      3 | [gateways]
        | ^^^^^^^^^^
      help: begin each one with [[gateways]]
    ");
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

#[test]
fn policies_of_a_gateway_are_read() {
    use isango_types::policy::{Backoff, FallbackOn, RetryPolicy, Timeouts};
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let text = format!(
        r#"
[server]
first_byte_timeout = "9s"
[providers.openai]
retry = {{ on = [429] }}
[[gateways]]
id = "a"
retry = {{ max_attempts = 3, delay_ms = 250, backoff = "exponential" }}
idle_timeout = "7s"
total_timeout = "1m"
max_replay_bytes = "1MiB"
[gateways.fallback]
sa = ["eu", "main"]
main = {{ to = ["sa"], on = ["429", "5xx"] }}
{TARGETS}"#
    );
    let config = load(&text);
    let gateway = &config.gateways[0];
    let policy = RetryPolicy {
        max_attempts: 3,
        delay: Duration::from_millis(250),
        backoff: Backoff::Exponential,
    };
    assert_eq!(gateway.retry, policy);
    assert_eq!(gateway.total_timeout, seconds(60));
    assert_eq!(gateway.max_replay_bytes, 1 << 20);
    let timeouts = |first_byte, idle| Timeouts {
        connect: None,
        first_byte,
        idle,
    };
    assert_eq!(gateway.timeouts, timeouts(seconds(9), seconds(7)));
    assert_eq!(gateway.targets[0].timeouts, timeouts(None, seconds(7)));
    assert_eq!(
        gateway.targets[2].timeouts,
        timeouts(seconds(9), seconds(5))
    );
    let names = |from: &str| {
        let chain = gateway.chain(from).unwrap();
        chain
            .to
            .iter()
            .map(|target| &*target.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("sa"), ["eu", "main"]);
    assert_eq!(names("main"), ["sa"]);
    assert_eq!(gateway.chain("sa").unwrap().on, FallbackOn::default());
    let on = gateway.chain("main").unwrap().on;
    assert!(on.rate_limit && on.server_error && !on.connect && !on.timeout);
    let provider = |slug: &str| config.providers.iter().find(|one| *one.slug == *slug);
    let openai = &provider("openai").unwrap().retry;
    assert_eq!(openai.on, [429]);
    assert_eq!(openai.never, ["insufficient_quota".into()]);
}

#[test]
fn a_chain_that_cannot_work_is_refused_with_the_reason() {
    let text = format!(
        r#"[[gateways]]
id = "a"
retry = {{ max_attempts = 6 }}
fallback = {{ sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = {{ to = ["sa"], on = ["500"] }} }}
{TARGETS}"#
    );
    insta::assert_snapshot!(refused(&text), @r#"
    configuration:3:26: `max_attempts` must be a whole number from 1 to 5; found a number
      3 | retry = * ************ * * *
        |                          ^
    configuration:4:20: `sa` cannot fall back to itself
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                    ^^^^
    configuration:4:32: `eu` stands twice in the chain of `sa`
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                ^^^^
    configuration:4:38: this gateway has no target `ew`
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                      ^^^^
      help: did you mean `eu`?
    configuration:4:44: `claude` cannot take over from `sa`: a request to `azure-openai` (openai) cannot be rewritten for `anthropic` (anthropic)
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                            ^^^^^^^^
      help: chain targets of one provider, or of providers that speak the same format
    configuration:4:55: the chain of `eu` names 0 targets; it takes 1 to 8
      4 | back = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on = [
        |                                                   ^^
    configuration:4:64: this gateway has no target `me`
      4 | sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on = ["500"] }
        |                                                   ^^
      help: known here: `sa`, `eu`, `main`, `claude`
    configuration:4:105: `500` is no condition
      4 | eu = [], me = ["sa"], main = { to = ["sa"], on = ["500"] } }
        |                                                   ^^^^^
      help: there are "connect", "timeout", "5xx", "429"
    "#);
}

#[test]
fn a_chain_that_will_hardly_answer_is_a_warning() {
    let text = format!("[[gateways]]\nid = \"a\"\nfallback = {{ sa = [\"main\"] }}\n{TARGETS}");
    insta::assert_snapshot!(load(&text).warnings.join("\n"), @r"
    nothing falls back to target `main` of gateway `a`: it has no `credential`, unless one is stored (`isango key set`), and a client's own is not sent there
    target `sa` of gateway `a` has no `models`: `main` will be asked for models by the names of its deployments
    ");
}

#[test]
fn residency_is_kept_by_chains_too() {
    let text = format!(
        r#"[[gateways]]
id = "a"
residency = ["southafricanorth", "northafrica"]
fallback = {{ sa = ["eu", "main"] }}
{TARGETS}"#
    );
    insta::assert_snapshot!(refused(&text), @r#"
    configuration:3:13: no target of this gateway has the region `northafrica`, so that no request could go there
      3 | residency = ["southafricanorth", "northafrica"]
        |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      help: known here: `southafricanorth`, `westeurope`
    configuration:4:20: `eu` is in `westeurope`, but `residency` of this gateway allows only `southafricanorth`, `northafrica`
      4 | fallback = { sa = ["eu", "main"] }
        |                    ^^^^
    configuration:4:26: `main` has no `region`, but `residency` of this gateway allows only `southafricanorth`, `northafrica`
      4 | fallback = { sa = ["eu", "main"] }
        |                          ^^^^^^
    "#);
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
            (_, value::Kind::Path) => set(key.path, &format!("{pem:?}")),
            (_, value::Kind::Secret) => sealed.clone(),
            _ if key.path == "listen" => set(key.path, "\"127.0.0.1:5\""),
            _ => set(key.path, key.example),
        };
        let named = old.needs_restart(&load(&text)).contains(&key.path);
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

#[test]
fn limits_are_read_in_all_three_spellings() {
    let text = r#"
        [[gateways]]
        id = "support"
        rate_limiting_limit = 50
        rate_limiting_interval = 60
        rate_limiting_technique = "sliding"
        [[gateways.limits]]
        id = "tenant-daily-tokens"
        by = ["metadata.tenantId"]
        unit = "tokens"
        limit = 200_000
        window = "day"
        time_zone = "Africa/Johannesburg"
        [[gateways.limits]]
        id = "monthly-spend"
        unit = "cost"
        limit = 500.0
        window = "month"
        only = { model = ["gpt-4o"] }
        mode = "relaxed"
        [[gateways.limits]]
        id = "at-once"
        unit = "concurrent"
        limit = 8
        [gateways.spend_limits]
        enabled = true
        rules = [
            { limitType = "cost", limit = 25, window = 86400, technique = "fixed" },
            { limitType = "cost", limit = 0.5, window = 60 },
        ]
    "#;
    let config = load(text);
    let limits = &config.gateways[0].limits;
    let told: Vec<_> = limits
        .iter()
        .map(|limit| format!("{}: {}; {:?}", limit.id, limit.describe(), limit.max_wait))
        .collect();
    assert_eq!(
        told,
        [
            "rate_limiting: 50 requests per 60s, sliding; 0ns",
            "00000000: cost limit 25 per 86400s, fixed; 5s",
            "00000000-1: cost limit 0.5 per 60s, sliding; 5s",
            "tenant-daily-tokens: 200000 tokens per day (Africa/Johannesburg); 5s",
            "monthly-spend: cost limit 500 per month; 0ns",
            "at-once: 8 requests at once; 0ns",
        ]
    );
}

/// Limits that are wrong in every way.
const WRONG_LIMITS: &str = r#"
[[gateways]]
id = "a"
rate_limiting_limit = 1
rate_limiting_interval = 1
[[gateways.limits]]
id = "rate_limiting"
unit = "tokens"
limit = 1.5
window = "fortnight"
[[gateways.limits]]
id = "zone"
unit = "cost"
limit = 0
window = "day"
time_zone = "Africa/Joburg"
by = ["tenant", "model", "model"]
[[gateways.limits]]
id = "x"
unit = "requests"
limit = 1
window = "90s"
time_zone = "UTC"
mode = "relaxed"
max_wait = "1s"
only = { model = [] }
[[gateways.limits]]
id = "x"
unit = "concurrent"
limit = 1
window = "day"
[[gateways.limits]]
id = "x"
unit = "requests"
limit = 1
on_exceeded = "never"
[gateways.spend_limits]
rules = [{ limitType = "tokens", limit = 1, window = 1, model = { mode = "partition" } }]
"#;

#[test]
fn a_wrong_limit_is_told_with_its_place() {
    insta::assert_snapshot!(refused(WRONG_LIMITS), @r#"
    configuration:9:9: `limit` must be a whole number of tokens
      9 | limit = 1.5
        |         ^^^
    configuration:10:10: `window` must be minute, hour, day, week or month, or a length from 1s to 366d such as "90s"; found "fortnight"
      10 | window = "fortnight"
         |          ^^^^^^^^^^^
    configuration:14:9: `limit` must be a number above 0, such as 200_000 or 12.5; found a number
      14 | limit = 0
         |         ^
    configuration:16:13: there is no time zone `Africa/Joburg`
      16 | time_zone = "Africa/Joburg"
         |             ^^^^^^^^^^^^^^^
      help: names look like "Africa/Johannesburg" or "UTC"
    configuration:17:6: `tenant` is no dimension
      17 | by = ["tenant", "model", "model"]
         |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      help: there are metadata.<key>, token, provider, model and target
    configuration:17:6: `model` stands twice in `by`
      17 | by = ["tenant", "model", "model"]
         |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    configuration:23:13: `time_zone` is for named windows that turn by the calendar
      23 | time_zone = "UTC"
         |             ^^^^^
    configuration:24:8: `mode` is for tokens and cost; requests are always counted at once
      24 | mode = "relaxed"
         |        ^^^^^^^^^
    configuration:25:12: `max_wait` is not for requests: what they drew does not come back
      25 | max_wait = "1s"
         |            ^^^^
    configuration:26:8: `model` in `only` names no value: no request would match
      26 | only = { model = [] }
         |        ^^^^^^^^^^^^^^
    configuration:28:6: limit `x` is defined twice in this gateway
      28 | id = "x"
         |      ^^^
    configuration:31:10: `window` is not for `concurrent`, which counts what is now
      31 | window = "day"
         |          ^^^^^
    configuration:32:1: `window` is missing
      32 | [[gateways.limits]]
         | ^^^^^^^^^^^^^^^^^^^
      help: write for instance `window = "day"`
    configuration:36:15: `on_exceeded` must be "block", "warn" or "fallback"; found another text
      36 | on_exceeded = "never"
         |               ^^^^^^^
    configuration:38:24: `limitType` must be "cost"; found another text
      38 | rules = ** ********* * ********* ***** * ** ****** * ** ***** * * **** * *********** * **
         |                        ^^^^^^^^
    configuration:38:65: `model` can only be a filter; use `by` of a limit instead
      38 | ****** * ********* ***** * ** ****** * ** ***** * * **** * *********** * **
         |                                                   ^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_fallback_that_leads_nowhere_is_told() {
    let text = r#"
[[gateways]]
id = "a"
residency = ["southafricanorth"]
[[gateways.targets]]
name = "sa"
provider = "openai"
region = "southafricanorth"
[[gateways.targets]]
name = "eu"
provider = "openai"
region = "westeurope"
[[gateways.limits]]
id = "nowhere"
unit = "requests"
limit = 1
window = "day"
on_exceeded = "fallback"
[[gateways.limits]]
id = "elsewhere"
unit = "requests"
limit = 1
window = "day"
on_exceeded = "fallback"
fallback_to = ["eu", "sb"]
[[gateways.limits]]
id = "blocks"
unit = "requests"
limit = 1
window = "day"
fallback_model = "gpt-4o-mini"
on_overrun = "cut"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:18:15: `on_exceeded = "fallback"` has nowhere to go
      18 | on_exceeded = "fallback"
         |               ^^^^^^^^^^
      help: name targets in `fallback_to`, or give the gateway a `fallback` chain
    configuration:25:15: `residency` of this gateway allows only `southafricanorth`, not `eu`
      25 | fallback_to = ["eu", "sb"]
         |               ^^^^^^^^^^^^
    configuration:25:15: this gateway has no target `sb`
      25 | fallback_to = ["eu", "sb"]
         |               ^^^^^^^^^^^^
      help: did you mean `sa`?
    configuration:31:18: `fallback_model` is for `on_exceeded = "fallback"`
      31 | fallback_model = "gpt-4o-mini"
         |                  ^^^^^^^^^^^^^
    configuration:32:14: `on_overrun` is for tokens and cost in `strict` mode, which hold something
      32 | on_overrun = "cut"
         |              ^^^^^
    "#);
}
