//! What is wrong is told with its place, and with what would be right.

use super::*;

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
