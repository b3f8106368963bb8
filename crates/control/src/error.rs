//! Failure of the management API: status, code, words, in the shape that clients of Cloudflare read
//! (management-api section 1.2).

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use isango_store::config::{self, Wrong};
use isango_store::{links, users};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::codes::Code;

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    errors: Vec<Problem>,
    result: Value,
    wait: Option<Duration>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is; codes never change their meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    code: Option<Code>,
    /// What is wrong, and what would be right.
    message: String,
    /// What leads to it: `body`, then names of members and places in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    path: Option<Vec<Value>>,
}

/// The body of every failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureBody {
    /// Always `false`.
    success: bool,
    /// At least one.
    errors: Vec<Problem>,
    /// Empty.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    /// Nothing.
    #[schema(value_type = Option<Object>)]
    result: Value,
}

impl Failure {
    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            errors: vec![Problem {
                code: Some(code),
                message: message.into(),
                path: None,
            }],
            result: Value::Null,
            wait: None,
        }
    }

    /// Nobody knows who is asking.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            "Authentication error",
        )
    }

    /// This, or the other one where it says that nobody knows who is asking.
    pub(crate) fn instead_of_unauthenticated(self, other: impl FnOnce() -> Self) -> Self {
        match self.status == StatusCode::UNAUTHORIZED {
            true => other(),
            false => self,
        }
    }

    /// Whoever is asking may not do this.
    pub(crate) fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, why)
    }

    /// There is no such thing, or not for whoever is asking.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, "Not Found")
    }

    /// There is no such path.
    pub(crate) fn unroutable() -> Self {
        let mut failure = Self::new(
            StatusCode::NOT_FOUND,
            Code::Unroutable,
            "Could not route to the path, perhaps your object identifier is invalid?",
        );
        failure.errors.push(Problem {
            code: Some(Code::NoRoute),
            message: "No route for that URI".into(),
            path: None,
        });
        failure
    }

    /// The path is there, the method is not.
    pub(crate) fn no_method() -> Self {
        let message = "the path does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::NoMethod, message)
    }

    /// A capability of the contract that this version does not have.
    pub(crate) fn later(what: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("not available in this version ({version}): {what}");
        Self::new(StatusCode::NOT_FOUND, Code::Later, message)
    }

    /// It stands in the configuration file, where alone it is changed.
    pub(crate) fn of_file() -> Self {
        let message = "managed by file: change it in the configuration file";
        Self::new(StatusCode::FORBIDDEN, Code::OfFile, message)
    }

    /// There is one of that name.
    pub(crate) fn taken(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, Code::Taken, message)
    }

    /// It is not as the request expects.
    pub(crate) fn changed() -> Self {
        let message = "it has changed meanwhile: read it again, then try again";
        Self::new(StatusCode::PRECONDITION_FAILED, Code::Changed, message)
    }

    /// The same with another code, where the contract of a resource has one of its own.
    pub(crate) fn code(mut self, code: Code) -> Self {
        for problem in &mut self.errors {
            problem.code = Some(code);
        }
        self
    }

    /// There is one of that name, which stands there.
    pub(crate) fn taken_at(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            ..Self::wrong(path, message)
        }
    }

    /// There is room for no more.
    pub(crate) fn full(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::Full, message)
    }

    /// As many as may be are under way.
    pub(crate) fn busy(why: &str) -> Self {
        let message = format!("{why}: try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Busy, message)
    }

    /// The body is larger than is read.
    pub(crate) fn too_large(bytes: usize) -> Self {
        let message = format!("the body has more than {bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, message)
    }

    /// The body took longer than it is waited for.
    pub(crate) fn too_slow(patience: Duration) -> Self {
        let message = format!(
            "the body did not come within {} seconds",
            patience.as_secs()
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::TooSlow, message)
    }

    /// The link was followed already, has ended, or was none.
    pub(crate) fn no_link() -> Self {
        let message = "this link was used, has ended, or is not the newest; ask for another one";
        Self::new(StatusCode::FORBIDDEN, Code::NoLink, message)
    }

    /// A change by a session that does not show where it comes from.
    pub(crate) fn no_csrf() -> Self {
        let message = "a change by a session needs its `x-csrf-token`, which the session tells";
        Self::new(StatusCode::FORBIDDEN, Code::NoCsrf, message)
    }

    /// There were too many tries.
    pub(crate) fn too_many_tries(wait: Duration) -> Self {
        let message = "too many tries; wait, then try again";
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyTries, message);
        Self {
            wait: Some(wait),
            ..failure
        }
    }

    /// A key of a request that was something else.
    pub(crate) fn other_body() -> Self {
        let message = "this `Idempotency-Key` was used with another body";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::OtherBody, message)
    }

    /// A key whose request cannot be answered again.
    pub(crate) fn same_key(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, Code::SameKey, message)
    }

    /// Parameters of a list that make no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            errors: vec![Problem {
                code: None,
                message: message.into(),
                path: None,
            }],
            result: json!({}),
            wait: None,
        }
    }

    /// One member of the body is wrong.
    pub(crate) fn wrong(path: &[&str], message: impl Into<String>) -> Self {
        Self::invalid(vec![Wrong {
            path: path.iter().map(|name| (*name).into()).collect(),
            message: message.into(),
        }])
    }

    /// Members of the body are wrong; at least one.
    pub(crate) fn invalid(wrong: Vec<Wrong>) -> Self {
        let segment = |name: &str| match name.parse::<u64>() {
            Ok(place) => Value::from(place),
            Err(_name) => Value::from(name),
        };
        let problem = |one: Wrong| Problem {
            code: Some(Code::Wrong),
            message: one.message,
            path: Some(
                std::iter::once("body".into())
                    .chain(one.path.iter().map(|name| segment(name)))
                    .collect(),
            ),
        };
        Self {
            status: StatusCode::BAD_REQUEST,
            errors: wrong.into_iter().map(problem).collect(),
            result: Value::Null,
            wait: None,
        }
    }

    /// We failed. What happened is for the operator, not for whoever asked.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request to the management API failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "internal error; the log of the server tells more",
        )
    }
}

impl From<users::Error> for Failure {
    fn from(error: users::Error) -> Self {
        match error {
            users::Error::Wrong(_) => Self::wrong(&["name"], error.to_string()),
            users::Error::Taken(_) => Self::taken(error.to_string()),
            users::Error::Unknown(_) => Self::not_found(),
            users::Error::Full(message) => Self::full(message),
            users::Error::Store(error) => error.into(),
            users::Error::Damaged(_) => Self::internal(&error),
        }
    }
}

impl From<links::Error> for Failure {
    fn from(error: links::Error) -> Self {
        match error {
            links::Error::Full => Self::full(error.to_string()),
            links::Error::Store(error) => error.into(),
            links::Error::Random => Self::internal(&error),
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        match error {
            config::Error::Conflict { .. } | config::Error::Moved => Self::changed(),
            config::Error::TooLarge { .. } => Self::wrong(&[], error.to_string()),
            config::Error::Invalid(invalid) => Self::invalid(invalid.0),
            config::Error::Failed(_) => Self::internal(&error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = FailureBody {
            success: false,
            errors: self.errors,
            messages: Vec::new(),
            result: self.result,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = self.wait {
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }
}
