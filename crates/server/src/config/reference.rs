//! `docs/configuration.md`, written from [`super::keys`].

use std::fmt::Write as _;

use super::keys::{self, Key, LATER, Unset};

const INTRODUCTION: &str = r#"# Configuration

<!-- Written by `isango config reference` from crates/server/src/config/keys; do not edit. -->

Everything has a default: `isango serve` runs without a file. `isango check FILE` tells what is
wrong with one.

**Sources.** Defaults < file (`--config FILE`, `ISANGO_CONFIG`, else `isango.toml` in the working
directory, if it is there) < environment variables < flags.

**Values.** A *duration* is a text of numbers with units: `us`, `ms`, `s`, `m`, `h`, `d`
(`"250ms"`, `"1m30s"`). A *size* is a number of bytes or a text with a unit: `KB`, `MB`, `GB`, `TB`
(powers of 1000), `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024). A *name* is 1 to 64 letters, digits,
`_` or `-`. A relative *path* in the file is relative to the folder of the file, in a variable or
a flag to the working directory.

**References.** In every text `env:NAME` stands for an environment variable, and `${NAME}` for one
inside a longer text (`$${` is a plain `${`). In secrets `file:/path` stands for the content of a
file, and `command:LINE` for what a program prints. A reference that leads nowhere is an error.

**Reload.** The file is watched: gateways, targets, providers, tokens, prices and `log.level`
change at once and for new requests only. On SIGHUP it is read again in any case, with the files it
refers to. A file with an error is refused as a whole, and what was before stays. Other settings
need a restart; the log names those that have changed.

An unknown key is an error, and so is a key of a later version: nothing is accepted and ignored.
"#;

/// The reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    let mut section = None;
    for key in keys::all() {
        if section != Some(key.section()) {
            section = Some(key.section());
            begin_section(&mut text, key.section());
        }
        row(&mut text, key);
    }
    text.push_str(
        "\n## Not in this version\n\nThese keys are refused until what they ask for is built.\n\n",
    );
    text.push_str("| Key | For |\n| --- | --- |\n");
    for later in LATER {
        line(&mut text, &format!("| `{}` | {} |", later.path, later.what));
    }
    text
}

fn begin_section(text: &mut String, section: &str) {
    let title = if section.is_empty() {
        "At the top of the file".to_owned()
    } else {
        format!("`{}`", keys::header(section))
    };
    line(text, &format!("\n## {title}\n"));
    line(
        text,
        "| Key | Type | Default | Environment | Meaning | Example |",
    );
    line(text, "| --- | --- | --- | --- | --- | --- |");
}

fn row(text: &mut String, key: &Key) {
    let default = match key.default {
        Unset::Required => "required".into(),
        Unset::Absent => "none".into(),
        Unset::Is("") => "empty".into(),
        Unset::Is(value) => format!("`{value}`"),
        Unset::From(other) if keys::find(other).is_some() => format!("`{other}`"),
        Unset::From(other) => format!("that of {other}"),
    };
    let env = key.env().map_or_else(String::new, |env| format!("`{env}`"));
    let (name, kind, meaning, example) = (key.name(), key.kind.name(), key.meaning, key.example);
    line(
        text,
        &format!("| `{name}` | {kind} | {default} | {env} | {meaning} | `{example}` |"),
    );
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}
