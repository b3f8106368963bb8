//! The description of the API as a page for people: nothing but text, without scripts and without
//! anything from elsewhere.

use std::fmt::Write as _;

use axum::http::HeaderName;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::Html;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;\
    padding:0 1em}code{font:13px ui-monospace,monospace}summary{cursor:pointer}\
    details{border-top:1px solid #8884;padding:.5em 0}b{display:inline-block;width:5em}";

/// What a browser may load for the page: its own style.
type Page = ([(HeaderName, &'static str); 1], Html<String>);

/// The page of a description.
pub(crate) fn page(description: &OpenApi) -> Page {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><p>{about}</p>\
         <p>The whole description, with every schema: \
         <a href=\"/client/v4/openapi.json\">openapi.json</a></p>",
        title = escape(&description.info.title),
        about = escape(description.info.description.as_deref().unwrap_or("")),
    );
    for (path, item) in &description.paths.paths {
        for (method, operation) in operations(item) {
            tell(&mut html, method, path, operation);
        }
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(CONTENT_SECURITY_POLICY, policy)], Html(html))
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let all = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn tell(html: &mut String, method: &str, path: &str, operation: &Operation) {
    let summary = escape(operation.summary.as_deref().unwrap_or(""));
    let path = escape(path);
    write!(
        html,
        "<details><summary><b>{method}</b> <code>{path}</code> {summary}</summary>"
    )
    .ok();
    if let Some(more) = &operation.description {
        write!(html, "<p>{}</p>", escape(more)).ok();
    }
    html.push_str("<ul>");
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        let about = parameter.description.as_deref().unwrap_or("");
        write!(
            html,
            "<li><code>{}</code> {}</li>",
            escape(&parameter.name),
            escape(about)
        )
        .ok();
    }
    html.push_str("</ul></details>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_told_and_nothing_comes_from_elsewhere() {
        let description = crate::openapi();
        let (_, Html(html)) = page(&description);
        let count = description
            .paths
            .paths
            .values()
            .map(|item| operations(item).count());
        assert_eq!(html.matches("<details>").count(), count.sum::<usize>());
        for foreign in ["<script", "http://", "https://", "src=", "@import"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }
}
