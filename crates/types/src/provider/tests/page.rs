//! `docs/providers.md`: what it lists is written from the catalogue.

use super::{PathRule, Provider, Wire, built_in};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/providers.md");
const BEGIN: &str =
    "<!-- Written from crates/types/src/providers.toml by its test; do not edit. -->\n";
const END: &str = "<!-- End of what is written. -->\n";

/// Set to have the page written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

#[test]
fn the_page_lists_the_catalogue() {
    let page = std::fs::read_to_string(PAGE).expect("docs/providers.md");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the line where the list begins");
    let (_, after) = rest.split_once(END).expect("the line where it ends");
    let fresh = format!("{before}{BEGIN}\n{}\n{END}{after}", list());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(PAGE, fresh).expect("docs/providers.md can be written");
        return;
    }
    assert!(
        page == fresh,
        "docs/providers.md has drifted; write it anew: {UPDATE}=1 cargo test -p isango-types page"
    );
}

fn list() -> String {
    let mut text = String::from(
        "| Slug | Provider | Address | Credential in | Format | Path |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let providers = built_in();
    for one in &providers {
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            either(one.aliases.iter().map(|alias| &**alias), &one.slug),
            one.name,
            addresses(one),
            credential(one),
            format_of(one.wire),
            path(one)
        );
    }
    text += "\nSources:\n\n";
    for one in &providers {
        text += &format!("- `{}`: {}\n", one.slug, one.source);
    }
    text
}

/// The first spelling and the others, each as code.
fn either<'t>(others: impl Iterator<Item = &'t str>, first: &str) -> String {
    let mut text = format!("`{first}`");
    for other in others {
        text += &format!(" or `{other}`");
    }
    text
}

fn addresses(provider: &Provider) -> String {
    let other = provider.other_base_url.as_ref().map(ToString::to_string);
    either(other.as_deref().into_iter(), &provider.base_url.to_string())
}

fn credential(provider: &Provider) -> String {
    let auth = &provider.auth;
    let first = match &*auth.prefix {
        "" => auth.header.to_string(),
        prefix => format!("{}: {}…", auth.header, prefix),
    };
    either(auth.also.iter().map(|slot| &**slot), &first)
}

const fn format_of(wire: Wire) -> &'static str {
    match wire {
        Wire::Openai => "OpenAI",
        Wire::Anthropic => "Anthropic",
        Wire::Gemini => "Gemini",
        Wire::Bedrock => "Bedrock",
        Wire::Cohere => "Cohere",
        Wire::Opaque => "not read",
    }
}

fn path(provider: &Provider) -> String {
    match provider.path {
        PathRule::Append => versions(provider),
        PathRule::AzureOpenai | PathRule::Azure => "[Azure](azure-openai.md)".to_owned(),
        PathRule::Bedrock => "[Bedrock](#amazon-bedrock)".to_owned(),
        PathRule::Vertex => "[Vertex](#google-vertex-ai)".to_owned(),
        PathRule::WorkersAi => "[Workers AI](#workers-ai)".to_owned(),
        PathRule::Fal => "[Fal](#fal)".to_owned(),
        PathRule::Baseten => "[Baseten](#baseten)".to_owned(),
    }
}

/// What an appended path may begin with.
fn versions(provider: &Provider) -> String {
    let base = &provider.base_url.path;
    let (own, others): (Vec<&str>, Vec<&str>) = provider
        .version_prefixes
        .iter()
        .map(|version| &**version)
        .partition(|version| base.ends_with(&format!("/{version}")));
    let code = |version: &&str| format!("`{version}/`");
    let others = others.iter().map(code).collect::<Vec<_>>().join(", ");
    match (own.first(), &*others) {
        (None, "") => "appended".to_owned(),
        (None, others) => format!("appended, {others} never twice"),
        (Some(own), "") => format!("with or without {}", code(own)),
        (Some(own), others) => format!("with or without {}; {others} in its place", code(own)),
    }
}
