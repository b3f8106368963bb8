//! Provider wire formats: pure functions over bytes. No I/O, no async, no clock.
//!
//! The data plane asks three things of a format. Before the send: what kind of call is this
//! ([`facts`]), which model does the body name ([`scan`]), and should `include_usage` be added
//! ([`edit`])? While a stream passes: must a frame be kept from the client ([`filter`])? After the
//! last byte: what was answered, and what did it use ([`read`]), which model did a form name
//! ([`form`]), and if the provider did not tell, how many tokens was it ([`tokens`])? [`sigv4`] signs
//! what is sent to AWS.

pub mod body;
pub mod edit;
pub mod facts;
pub mod filter;
pub mod flow;
pub mod form;
pub mod path;
pub mod read;
pub mod refusal;
pub mod scan;
pub mod sigv4;
pub mod tokens;

mod anthropic;
mod assemble;
mod bedrock;
mod cohere;
mod cut;
mod decode;
mod eventstream;
mod format;
mod gemini;
mod guest;
mod json;
mod json_stream;
mod opaque;
mod openai;
#[cfg(test)]
mod recordings;
mod repeat;
mod sse;
