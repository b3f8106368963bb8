//! What single keys cannot tell: whether they fit together, and whether it is safe to serve them.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use isango_types::door::ANY;
use isango_types::gateway::DEFAULT_GATEWAY;
use isango_types::policy::{Chain, ScopeFrom};
use isango_types::provider::PathRule;
use isango_types::{Credential, Gateway, Network, Provider, Target, nearest};

use super::section::Section;
use super::settings::Config;

/// Fewest characters of a token that is chosen by the operator.
const MIN_TOKEN: usize = 16;

/// A path to a file that must be readable.
pub(super) fn file(
    section: &Section<'_>,
    name: &str,
    relative_to: &dyn Fn(&Range<usize>) -> PathBuf,
) -> Option<PathBuf> {
    let path = section.path(name, relative_to)?;
    if let Err(error) = std::fs::File::open(&path) {
        section.problem(
            name,
            format!("`{}` cannot be read: {error}", path.display()),
            None,
        );
    }
    Some(path)
}

/// Names of hosts, in lower case.
pub(super) fn hosts(section: &Section<'_>) -> Vec<Box<str>> {
    let hosts = section.texts("allowed_hosts");
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    for host in &hosts {
        let is_host = !host.is_empty() && host.bytes().all(is_of_name) && !host.ends_with('.');
        if !is_host && **host != *ANY {
            let message = format!("`{host}` is no name of a host");
            let help = "write it without scheme and port: `ai.example.com`";
            section.problem("allowed_hosts", message, Some(help.into()));
        }
    }
    lower(&hosts)
}

/// Origins of web pages, in lower case.
pub(super) fn origins(section: &Section<'_>) -> Vec<Box<str>> {
    let origins = section.texts("allowed_origins");
    for origin in &origins {
        let host = origin.split_once("://").map(|(_scheme, host)| host);
        let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*']));
        if !is_origin && **origin != *ANY {
            let message = format!("`{origin}` is no origin of a web page");
            let help = "write scheme, host and port alone: `https://app.example.com`";
            section.problem("allowed_origins", message, Some(help.into()));
        }
    }
    lower(&origins)
}

/// Addresses and networks of proxies.
pub(super) fn networks(section: &Section<'_>) -> Vec<Network> {
    let texts = section.texts("trusted_proxies");
    let networks = texts.iter().filter_map(|text| {
        let network = Network::parse(text);
        if network.is_none() {
            let message = format!("`{text}` is neither an address nor a network");
            let help = "write `10.0.0.7` or `10.0.0.0/8`";
            section.problem("trusted_proxies", message, Some(help.into()));
        }
        network
    });
    networks.collect()
}

fn lower(texts: &[Box<str>]) -> Vec<Box<str>> {
    texts
        .iter()
        .map(|text| text.to_ascii_lowercase().into())
        .collect()
}

/// Where the scope of a request comes from.
pub(super) fn cache_scope(section: &Section<'_>, text: &str) -> Option<ScopeFrom> {
    let member = text.strip_prefix("metadata.");
    match member {
        Some(member) if !member.is_empty() => Some(ScopeFrom::Metadata(member.into())),
        None if text == "token" => Some(ScopeFrom::Token),
        Some(_) | None => {
            let message = format!("`cache_scope` is `token` or `metadata.<name>`; found `{text}`");
            let help = Some(r#"write for instance `cache_scope = "metadata.tenantId"`"#.into());
            section.problem("cache_scope", message, help);
            None
        }
    }
}

/// A target with the slug of its provider in its first spelling, and an address that the
/// provider's paths can fill.
pub(super) fn target(
    section: &Section<'_>,
    mut target: Target,
    provider: &Provider,
) -> Arc<Target> {
    target.provider = provider.slug.clone();
    let base_url = target.base_url.as_ref().unwrap_or(&provider.base_url);
    if let Err(error) = provider.accepts(base_url) {
        section.problem("base_url", error.to_string(), None);
        return Arc::new(target);
    }
    let is_aws = matches!(target.credential.as_deref(), Some(Credential::Aws(_)));
    if is_aws && provider.path != PathRule::Bedrock {
        let message = format!("`{}` takes no AWS signatures", provider.slug);
        section.problem("credential", message, None);
    }
    let needs_resource = base_url.placeholders().any(|name| name == "resource");
    if needs_resource && target.resource.is_none() && !section.has("resource") {
        let message = format!(
            "target `{}` needs a `resource`: the address of `{}` is {base_url}",
            target.name, provider.slug
        );
        section.problem(
            "resource",
            message,
            Some(r#"write `resource = "…"`"#.into()),
        );
    }
    Arc::new(target)
}

/// The digest of a token, from `digest` or from `secret`, of which one must stand there.
pub(super) fn token_digest(section: &Section<'_>) -> Option<[u8; 32]> {
    let (secret, digest) = (section.secret("secret"), section.digest("digest"));
    match (section.has("secret"), section.has("digest")) {
        (true, true) => {
            section.problem(
                "digest",
                "`secret` and `digest` exclude each other".into(),
                None,
            );
        }
        (false, false) => {
            let help = "`isango token create` makes a token and its digest";
            section.problem(
                "name",
                "`secret` or `digest` is missing".into(),
                Some(help.into()),
            );
        }
        (true, false) | (false, true) => {}
    }
    let Some(secret) = secret else { return digest };
    if secret.expose().chars().count() < MIN_TOKEN {
        let help = "`isango token create` makes one that nobody guesses";
        let message = format!("a token has at least {MIN_TOKEN} characters");
        section.problem("secret", message, Some(help.into()));
    }
    Some(sha256(secret.expose()))
}

/// The digest that a token is known by.
pub(crate) fn sha256(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Notes gateways that a token names but that are not there.
pub(super) fn opened(section: &Section<'_>, account: &str, opens: &[Box<str>], all: &[Gateway]) {
    let ids = || {
        let of_account = all.iter().filter(|one| *one.account == *account);
        of_account.map(|one| &*one.id).chain([DEFAULT_GATEWAY])
    };
    for id in opens {
        if !ids().any(|known| *known == **id) {
            let message = format!("account `{account}` has no gateway `{id}`");
            section.problem("gateways", message, nearest(id, ids()));
        }
    }
}

/// Checks what concerns several sections.
pub(super) fn together(config: &mut Config, root: &Section<'_>) {
    if is_same_door(config.listen, config.admin_listen) {
        let message = format!("`listen` and `admin_listen` are both {}", config.listen);
        let help = "the data plane and the management need an address each";
        root.problem("admin_listen", message, Some(help.into()));
    }
    if !config.listen.ip().is_loopback() && !config.allow_unauthenticated {
        refuse_open_gateways(config, root);
    }
    if !config.admin_listen.ip().is_loopback() {
        config.warnings.push(format!(
            "metrics and health at `admin_listen` ({}) can be read from other machines without a \
             token",
            config.admin_listen
        ));
    }
    let is_limited = config.gateways.iter().any(|one| !one.limits.is_empty());
    let is_open = !config.default_gateway.authentication && !config.listen.ip().is_loopback();
    if is_limited && is_open {
        config.warnings.push(
            "limits can be gone around: gateway `default` of every other account has none, and is \
             open to all that reach it; leave out `allow_unauthenticated`"
                .into(),
        );
    }
    let doubts: Vec<String> = config
        .gateways
        .iter()
        .flat_map(|gateway| doubtful_chains(gateway, &config.providers))
        .collect();
    config.warnings.extend(doubts);
    for gateway in &config.gateways {
        for (index, target) in gateway.targets.iter().enumerate() {
            let same = |other: &&Arc<Target>| {
                other.provider == target.provider
                    && (other.resource.is_none() || other.resource == target.resource)
            };
            let is_chained = |chain: &Chain| chain.to.iter().any(|to| to.name == target.name);
            let is_equal = gateway.group(&target.name).is_some();
            if is_equal || gateway.fallback.iter().any(is_chained) {
                continue;
            }
            if let Some(other) = gateway.targets[..index].iter().find(same) {
                config.warnings.push(format!(
                    "target `{}` of gateway `{}` is never used: `{}` before it takes the same \
                     requests",
                    target.name, gateway.id, other.name
                ));
            }
        }
    }
}

/// Fallbacks that will hardly ever answer.
fn doubtful_chains(gateway: &Gateway, providers: &[Provider]) -> Vec<String> {
    let needs_key = |target: &Target| {
        let mut of_target = providers.iter().filter(|one| one.slug == target.provider);
        target.credential.is_none() && of_target.any(|provider| !provider.auth.optional)
    };
    let mut doubts = Vec::new();
    for chain in &gateway.fallback {
        let from = gateway.targets.iter().find(|one| one.name == chain.from);
        for to in &chain.to {
            if needs_key(to) {
                doubts.push(format!(
                    "nothing falls back to target `{}` of gateway `{}`: it has no `credential`, \
                     unless one is stored (`isango key set`), and a client's own is not sent there",
                    to.name, gateway.id
                ));
            }
            let is_foreign = |from: &&Arc<Target>| {
                from.provider != to.provider && from.models.is_empty() && from.resource.is_some()
            };
            if let Some(from) = from.filter(is_foreign) {
                doubts.push(format!(
                    "target `{}` of gateway `{}` has no `models`: `{}` will be asked for models by \
                     the names of its deployments",
                    from.name, gateway.id, to.name
                ));
            }
        }
    }
    doubts
}

/// Whether two listeners cannot both be had.
fn is_same_door(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// Beyond loopback every gateway asks for a token. The gateway that nobody configured does so of
/// itself.
fn refuse_open_gateways(config: &mut Config, root: &Section<'_>) {
    let open: Vec<_> = config
        .gateways
        .iter()
        .filter(|gateway| !gateway.authentication)
        .map(|gateway| format!("`{}`", gateway.id))
        .collect();
    config.default_gateway.authentication = true;
    if open.is_empty() {
        return;
    }
    let open = open.join(", ");
    let message = format!(
        "{} can be reached from other machines, but gateway {open} asks for no token",
        config.listen
    );
    let help = "set `authentication = true` and make a token (`isango token create`), listen on \
                127.0.0.1, or allow it with `allow_unauthenticated = true` \
                (`--allow-unauthenticated`)";
    root.problem("listen", message, Some(help.into()));
}
