//! Scripted model providers on loopback: OpenAI, Azure OpenAI, Anthropic and Gemini surfaces on
//! one port, over HTTP/1.1 and HTTP/2 with prior knowledge, without any key or network.
//!
//! Answers are plausible and deterministic: a hash of the request decides every word, id and
//! count. A request can ask for faults (`x-sim-*` headers or `sim_*` query keys), which is what
//! the simulator is for: seeing how a client or a gateway behaves when its provider does not.
//! It does not judge models, keys or prompts, and it writes nothing down.
//!
//! In reading order: [`Simulator`] (`server`) accepts connections and hands each request to
//! `respond`, which asks `route` whose surface it is, `faults` what shall go wrong, and the
//! provider's module for the content (an `asked` in, an answer out); `ask` and `text` make that up;
//! `script` and `body` send it.

mod anthropic;
mod ask;
mod asked;
mod azure;
mod body;
mod faults;
mod gemini;
mod json;
mod manners;
mod openai;
mod options;
mod page;
mod receive;
mod refusal;
mod respond;
mod route;
mod schema;
mod script;
mod server;
mod stats;
mod text;

pub use options::Options;
pub use server::Simulator;
pub use stats::Stats;
