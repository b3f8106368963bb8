//! Refusals in each provider's own shape.
//!
//! Statuses, types and codes are the providers' (their API references, error pages; read
//! 2026-11-22); the sentences are ours and say that a simulator speaks.

use http::StatusCode;

use crate::json::Object;
use crate::route::Provider;

/// A request that gets no content.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    message: String,
    /// The provider's code, where it is not the usual one of the status.
    code: Option<&'static str>,
    /// The field at fault.
    param: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code: None,
            param: None,
        }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A required field is absent.
    pub(crate) fn missing(param: &'static str) -> Self {
        let refusal = Self::bad(format!("the field `{param}` is required"));
        Self {
            code: Some("missing_required_parameter"),
            param: Some(param),
            ..refusal
        }
    }

    /// A field's value is not possible.
    pub(crate) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Some("invalid_value"),
            param: Some(param),
            ..Self::bad(message)
        }
    }

    pub(crate) const fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The refusal that a fault asks for.
    pub(crate) fn simulated(status: StatusCode) -> Self {
        Self::new(
            status,
            format!("the simulator answers {} as asked", status.as_u16()),
        )
    }

    /// The body, as `provider` writes it.
    pub(crate) fn body(&self, provider: Provider, request_id: &str) -> Vec<u8> {
        match provider {
            Provider::OpenAi => {
                let (kind, code) = openai(self.status);
                let error = Object::new()
                    .text("message", &self.message)
                    .text("type", kind)
                    .maybe("param", self.param)
                    .maybe("code", self.code.or(code));
                Object::new().object("error", error).build()
            }
            Provider::Azure => {
                let code = self.code.map_or_else(|| azure(self.status), str::to_owned);
                let error = Object::new()
                    .text("code", &code)
                    .text("message", &self.message);
                Object::new().object("error", error).build()
            }
            Provider::Anthropic => {
                let error = Object::new()
                    .text("type", anthropic(self.status))
                    .text("message", &self.message);
                Object::new()
                    .text("type", "error")
                    .object("error", error)
                    .text("request_id", request_id)
                    .build()
            }
            Provider::Gemini => {
                let error = Object::new()
                    .number("code", u64::from(self.status.as_u16()))
                    .text("message", &self.message)
                    .text("status", gemini(self.status));
                Object::new().object("error", error).build()
            }
        }
    }
}

fn openai(status: StatusCode) -> (&'static str, Option<&'static str>) {
    match status.as_u16() {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        408 | 504 => ("timeout", Some("timeout")),
        429 => ("requests", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

fn azure(status: StatusCode) -> String {
    match status.as_u16() {
        400 => "BadRequest".to_owned(),
        404 => "DeploymentNotFound".to_owned(),
        408 => "RequestTimeout".to_owned(),
        500 => "InternalServerError".to_owned(),
        503 => "ServiceUnavailable".to_owned(),
        other => other.to_string(),
    }
}

fn anthropic(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn gemini(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provider: Provider, status: u16, expected: &str) {
        let refusal = Refusal::simulated(StatusCode::from_u16(status).unwrap());
        let body = String::from_utf8(refusal.body(provider, "req_1")).unwrap();
        assert_eq!(body, expected);
    }

    #[test]
    fn each_provider_refuses_in_its_own_shape() {
        check(
            Provider::OpenAi,
            429,
            r#"{"error":{"message":"the simulator answers 429 as asked","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        );
        check(
            Provider::Azure,
            429,
            r#"{"error":{"code":"429","message":"the simulator answers 429 as asked"}}"#,
        );
        check(
            Provider::Anthropic,
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"the simulator answers 529 as asked"},"request_id":"req_1"}"#,
        );
        check(
            Provider::Gemini,
            503,
            r#"{"error":{"code":503,"message":"the simulator answers 503 as asked","status":"UNAVAILABLE"}}"#,
        );
    }
}
