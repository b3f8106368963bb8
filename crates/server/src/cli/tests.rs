use clap::CommandFactory as _;

use isango_types::key::Digest;

use super::*;

mod entities;

fn isango(words: &str) -> (u8, String) {
    let mut out = Vec::new();
    let code = run(words.split(' ').map(Into::into), &mut out);
    (code, String::from_utf8(out).unwrap())
}

/// The help of a command, as on a terminal of 100 columns.
fn help(path: &[&str]) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let found = path.iter().try_fold(&mut command, |command, name| {
        command.find_subcommand_mut(name)
    });
    let help = found.unwrap().render_long_help().to_string();
    help.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn help_of_isango() {
    insta::assert_snapshot!(help(&[]), @r"
    A self-hosted AI gateway: logs, prices and forwards requests to LLM providers

    Usage: isango <COMMAND>

    Commands:
      serve       Run the gateway
      demo        Run a gateway before simulated providers, with a minute of traffic
      simulate    Play the providers: OpenAI, Azure OpenAI, Anthropic, Gemini, with faults on request
      check       Check a configuration without using it
      logs        Read the records of what has passed the gateway
      prices      Look up what tokens cost
      audit       Prove that no stored record, and no entry of the audit trail, was changed or removed
      logpush     Look after exports, try them out, and read what they delivered
      cache       Look into the cache, explain it, empty it
      alerts      Try alerts out
      alert       List, read, test and mute alerts of a running server
      targets     Tell which targets rest, how busy and how fast they are, and what their limits leave
      target      List, set and remove targets of a gateway of a running server, and tell how they are
      gateway     List, read, make, change and remove gateways of a running server
      limit       List, set, remove and try limits of a gateway of a running server
      token       Make, list, rotate and revoke tokens that open gateways
      key         Store, list and remove credentials for providers
      setup-link  Print the link by which somebody becomes the first owner of the dashboard
      config      Describe the configuration; export, plan and apply stored gateways
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help

      -V, --version
              Print version

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

    Example: isango demo
    ");
}

#[test]
fn help_of_serve() {
    insta::assert_snapshot!(help(&["serve"]), @r"
    Run the gateway

    Usage: isango serve [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file [default: isango.toml, if it is there]

              [env: ISANGO_CONFIG]

          --listen <ADDRESS>
              Address of the data plane; port 0 takes a free one

          --admin-listen <ADDRESS>
              Address of health and metrics

          --data-dir <FOLDER>
              Folder of the record store

          --allow-unauthenticated
              Serve gateways without authentication beyond loopback too

          --log <FILTER>
              What to log on standard error: error, warn, info, debug, trace, off, or module=level

          --json
              Print one JSON line when requests are answered

      -h, --help
              Print help

    Works without a configuration: `isango config reference` tells what can be set. The file is
    watched, and read again on SIGHUP. SIGTERM and Ctrl-C let running answers end.

    Example: isango serve --config isango.toml
    ");
}

#[test]
fn help_of_demo_and_simulate() {
    insta::assert_snapshot!(help(&["demo"]), @r"
    Run a gateway before simulated providers, with a minute of traffic

    Usage: isango demo [OPTIONS]

    Options:
          --listen <ADDRESS>
              Address of the gateway

              [default: 127.0.0.1:8700]

          --admin-listen <ADDRESS>
              Address of health and metrics

              [default: 127.0.0.1:8701]

          --simulator <ADDRESS>
              Address of the simulated providers

              [default: 127.0.0.1:8790]

          --data-dir <FOLDER>
              Folder of the record store, which is kept [default: a temporary one]

          --seconds <N>
              How long traffic is sent; the demo serves on afterwards

              [default: 60]

          --rate <N>
              Requests per second

              [default: 5]

          --json
              Print JSON lines

      -h, --help
              Print help

    Needs no key and no network. Where a port is taken, a free one is used. The records are removed
    in the end, unless --data-dir names a folder for them.

    Example: isango demo --seconds 10 --rate 20
    ");
    insta::assert_snapshot!(help(&["simulate"]), @r#"
    Play the providers: OpenAI, Azure OpenAI, Anthropic, Gemini, with faults on request

    Usage: isango simulate [OPTIONS]

    Options:
          --listen <ADDRESS>
              Address to listen on; port 0 takes a free one

              [default: 127.0.0.1:8790]

          --pace <N>
              Tokens per second of streams; 0 is as fast as it goes

              [default: 50]

          --ttft <DURATION>
              Time to the first token of streams

              [default: 300ms]

          --latency <DURATION>
              Wait before each answer

              [default: 0s]

          --seed <N>
              Changes every made-up word

              [default: 0]

          --json
              Print one JSON line when it listens

      -h, --help
              Print help

    Any key is good. Its page at / lists the surfaces and the faults that a request can ask for.

    Example: isango simulate --pace 20
             curl -sN '127.0.0.1:8790/v1/chat/completions?sim_cut_after=5' \
               -H 'authorization: Bearer any' \
               -d '{"model":"gpt-4o","stream":true,"messages":[]}'
    "#);
}

#[test]
fn help_of_check_and_logs() {
    insta::assert_snapshot!(help(&["check"]), @r"
    Check a configuration without using it

    Usage: isango check [OPTIONS] [FILE]

    Arguments:
      [FILE]
              Configuration file [default: isango.toml, if it is there]

              [env: ISANGO_CONFIG]

    Options:
          --json
              Print one JSON object

      -h, --help
              Print help

    References (env:NAME, ${NAME}, file:/path, command:LINE) must lead somewhere, as when serving.
    Exit codes: 0 it can be used, 2 it cannot.

    Example: isango check isango.toml
    ");
    insta::assert_snapshot!(help(&["logs"]), @r#"
    Read the records of what has passed the gateway

    Usage: isango logs [OPTIONS] <COMMAND>

    Commands:
      tail     Print the latest records, oldest first
      query    Print the records that match, newest first
      show     Print one record, with its bodies
      export   Print all records that match, oldest first, for other programs
      disk     Print what the record store takes on the disk, and for how long there is room
      backup   Copy the record store, also while a server writes to it
      rebuild  Make the indexes and columns of the record store again, while no server writes to it
      help     Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file [default: isango.toml, if it is there]

              [env: ISANGO_CONFIG]

          --data-dir <FOLDER>
              Folder of the record store [default: that of the configuration]

      -h, --help
              Print help

    FILTER is made of terms that must all hold: status:error  model:gpt-4o*  meta.tenantId=acme
    cost:>0.01  duration:>2s  gateway!=test  "words of a body"

    Example: isango logs tail -f status:error
    "#);
    insta::assert_snapshot!(help(&["logs", "query"]), @r"
    Print the records that match, newest first

    Usage: isango logs query [OPTIONS] [FILTER]...

    Arguments:
      [FILTER]...
              What a record must match

    Options:
          --limit <N>
              At most this many

              [default: 50]

          --data-dir <FOLDER>
              Folder of the record store [default: that of the configuration]

          --oldest-first
              Oldest first

          --since <TIME>
              Not older than this: 1h, 30d, 2026-11-22, 2026-11-22T16:00:00Z

          --until <TIME>
              Older than this

          --json
              Print one JSON object per line

          --bodies
              With the bodies (JSON only)

      -h, --help
              Print help

    Example: isango logs query --since 1h status:error 'cost:>0.01'
    ");
}

#[test]
fn every_command_has_json_and_an_example() {
    fn check(command: &clap::Command) {
        let help = command.clone().render_long_help().to_string();
        assert!(
            help.contains("Example: isango"),
            "{}: no example",
            command.get_name()
        );
        let mut commands = command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .peekable();
        if commands.peek().is_none() {
            assert!(help.contains("--json"), "{}: no --json", command.get_name());
        }
        commands.for_each(check);
    }
    let mut command = Cli::command();
    command.build();
    check(&command);
    command.debug_assert();
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    assert_eq!(isango("isango").0, 2);
    assert_eq!(isango("isango serve --lisen 1").0, 2);
    assert_eq!(isango("isango serve --listen 8700").0, 2);
    assert_eq!(isango("isango simulate --ttft soon").0, 2);
    assert_eq!(isango("isango --version").0, 0);
}

#[test]
fn check_tells_what_a_configuration_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    std::fs::write(&file, "[[gateways]]\nid = \"a\"\nauthentication = true").unwrap();
    let check = |flag: &str| isango(&format!("isango check{flag} {}", file.display()));
    let (code, text) = check("");
    let text = text.replace(folder.path().to_str().unwrap(), "FOLDER");
    assert_eq!(code, 0);
    insta::assert_snapshot!(text, @r"
    ok: FOLDER/isango.toml: 2 gateways with 0 targets, 27 providers (0 of your own), 0 tokens
    warning: no token opens gateway `a` of account `local`: every request to it is refused until `isango token create` makes one
    ");
    let (code, json) = check(" --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["ok"], &json["counts"]["gateways"]),
        (0, &true.into(), &2.into())
    );
    std::fs::write(&file, "[[gateways]]\nid = \"default\"").unwrap();
    assert!(check("").1.contains(": 1 gateways with "));
    std::fs::write(&file, "lisen = 1").unwrap();
    assert_eq!(check("").0, 2);
    let (code, json) = check(" --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["ok"], &json["problems"][0]["line"]),
        (2, &false.into(), &1.into())
    );
    assert_eq!(json["problems"][0]["help"], "did you mean `listen`?");
}

#[test]
fn the_reference_is_printed_as_markdown_and_as_json() {
    assert_eq!(
        isango("isango config reference"),
        (0, crate::config::markdown())
    );
    let (code, json) = isango("isango config reference --json");
    let keys: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &keys[0]["env"]), (0, &"ISANGO_LISTEN".into()));
}

#[test]
fn a_created_token_opens_what_its_lines_say() {
    let (code, text) = isango("isango token create app --gateway default --for-file");
    assert_eq!(code, 0);
    let (token, lines) = text.split_once('\n').unwrap();
    let token = token.strip_prefix("token ").unwrap();
    assert!(token.starts_with("isg_") && token.len() == 47, "{token}");
    let config = Config::parse(lines, &Sources::default()).unwrap();
    let sha256 = isango_store::tokens::sha256(&isango_types::Secret::new(token));
    assert_eq!(config.tokens[0].digests, [Digest::lasting(sha256.0)]);
    assert!(config.tokens[0].opens("local", "default"));
    assert!(!lines.contains(token));
    assert_ne!(
        isango("isango token create app --for-file").1,
        isango("isango token create app --for-file").1
    );
    assert_eq!(isango("isango token create a/b --for-file").0, 2);
    let (_, json) = isango("isango token create app --for-file --json");
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["token"].is_string());
}

#[test]
fn prices_are_looked_up_as_for_a_request() {
    let (code, text) = isango("isango prices show azure-openai gpt-4o-2024-11-20 --at 2026-11-22");
    assert_eq!(code, 0);
    assert!(
        text.contains("/gpt-4o\n") && text.contains("per million tokens"),
        "{text}"
    );
    let (_, json) = isango("isango prices show openai gpt-4o --json");
    let price: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(price["rates"]["input"]["usd"].is_string(), "{price}");
    assert_eq!(isango("isango prices show openai no-such-model").0, 1);
    assert_eq!(isango("isango prices show openai gpt-4o --at soon").0, 2);
    assert!(
        isango("isango prices list")
            .1
            .lines()
            .any(|slug| slug == "anthropic")
    );
    assert!(
        isango("isango prices list openai --json")
            .1
            .contains("\"gpt-4o\"")
    );
}

#[test]
fn an_absent_journal_is_intact_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let verify = || {
        isango(&format!(
            "isango audit verify --data-dir {}",
            folder.path().display()
        ))
    };
    assert_eq!(verify().0, 0);
    let journal = folder.path().join("journal");
    drop(isango_records::Records::open(folder.path(), isango_records::Options::default()).unwrap());
    let file = std::fs::read_dir(&journal).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.to_str()
            .unwrap()
            .ends_with(".jsonl.zst")
            .then_some(path)
    });
    let file = file.unwrap_or_else(|| journal.join("00000001.jsonl.zst"));
    std::fs::write(file, [7; 4_096]).unwrap();
    let (code, text) = verify();
    assert_eq!(code, 1, "{text}");
}

/// A reader that has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    assert_eq!(
        run(["isango", "config", "reference"].map(Into::into), &mut Gone),
        0
    );
    assert_eq!(
        run(
            ["isango", "config", "reference", "--json"].map(Into::into),
            &mut Gone
        ),
        0
    );
}
