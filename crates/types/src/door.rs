//! From where gateways that ask for no token may be asked.

/// Any host, or any origin.
pub const ANY: &str = "*";

/// What keeps web pages out of gateways that ask for no token: a browser reaches this machine, too,
/// and would let a page of anybody's spend the operator's credentials.
///
/// Pages and names of this machine, addresses, and names without a dot, which nobody else can
/// register, are always let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Names by which the gateway may be called, in lower case; `None`: by any.
    pub hosts: Option<Vec<Box<str>>>,
    /// Origins of pages that may ask (`https://app.example.com`), in lower case.
    pub origins: Vec<Box<str>>,
}
