//! Takes only heads of HTTP/1 whose lines end with CR LF.
//!
//! hyper takes a bare LF for the end of a line, too, as it may (RFC 9112 section 2.2); another
//! server before the gateway may not, and would see another request.

/// What the last four bytes are behind an empty line.
const EMPTY_LINE: u32 = u32::from_be_bytes(*b"\r\n\r\n");

/// What has come on a connection.
#[derive(Debug, Default)]
pub(super) struct Lines {
    phase: Phase,
    /// Bytes since the last LF of the head.
    line: usize,
    /// The last four bytes; the last of them is the lowest.
    tail: u32,
    /// Bytes behind the head.
    behind: u64,
    /// How many of them have come with the last bare LF; 0: there is none.
    bare: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// Nothing of a head has come but empty lines.
    #[default]
    Blank,
    /// A head is under way.
    Head,
    /// A head has come.
    Whole,
    /// It has become a request with a body of this length; `None`: in chunks.
    Request(Option<u64>),
    /// A head had a bare LF, or began in the read that ended the request before it. Where requests
    /// begin is not known from here on.
    Unclear,
}

impl Lines {
    /// Reads on; `idle`: no request is under way.
    pub(super) fn read(&mut self, bytes: &[u8], idle: bool) {
        if let Phase::Request(body) = self.phase {
            let is_next = body.map_or(idle, |length| self.behind >= length);
            let is_clean = body.map_or(self.tail == EMPTY_LINE, |length| self.behind == length);
            if is_next && is_clean {
                *self = Self::default();
            } else if is_next {
                self.pipeline(body);
            }
        }
        match self.phase {
            Phase::Blank | Phase::Head => self.head(bytes),
            Phase::Whole | Phase::Request(_) | Phase::Unclear => self.behind(bytes),
        }
    }

    /// A head became a request with a body of this length. Whether no line of it may end with a
    /// bare LF.
    ///
    /// A client that pipelines its requests must do without bare LFs in bodies, too.
    pub(super) fn begin(&mut self, body: Option<u64>) -> bool {
        match self.phase {
            Phase::Whole => {
                self.phase = Phase::Request(body);
                true
            }
            Phase::Request(before) => {
                self.pipeline(before);
                self.bare == 0
            }
            Phase::Unclear => self.bare == 0,
            // Another end of the head was seen than here.
            Phase::Blank | Phase::Head => false,
        }
    }

    /// More came with the end of a body of this length.
    fn pipeline(&mut self, body: Option<u64>) {
        if self.bare <= body.unwrap_or(0) {
            self.bare = 0;
        }
        self.phase = Phase::Unclear;
    }

    fn head(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', bytes) {
            if !self.follows_cr(bytes, lf) {
                self.phase = Phase::Unclear;
                self.bare = 1;
                return;
            }
            let is_empty = self.line + (lf - from) == 1;
            from = lf + 1;
            self.line = 0;
            if !is_empty {
                self.phase = Phase::Head;
            } else if matches!(self.phase, Phase::Head) {
                self.phase = Phase::Whole;
                self.tail = EMPTY_LINE;
                self.behind(&bytes[from..]);
                return;
            }
        }
        self.line += bytes.len() - from;
        self.keep_tail(bytes);
    }

    fn behind(&mut self, bytes: &[u8]) {
        let last = memchr::memrchr_iter(b'\n', bytes).find(|lf| !self.follows_cr(bytes, *lf));
        if let Some(lf) = last {
            self.bare = self.behind + lf as u64 + 1;
        }
        self.behind += bytes.len() as u64;
        self.keep_tail(bytes);
    }

    fn follows_cr(&self, bytes: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        before.unwrap_or(self.tail.to_be_bytes()[3]) == b'\r'
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.tail = self.tail << 8 | u32::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head in any two parts; what follows it is not looked at.
    fn check(head: &str, sound: bool) {
        let bytes = head.as_bytes();
        for at in 0..=bytes.len() {
            let mut lines = Lines::default();
            lines.read(&bytes[..at], true);
            lines.read(&bytes[at..], true);
            assert_eq!(lines.begin(None), sound, "{head:?} cut at {at}");
        }
    }

    #[test]
    fn a_bare_lf_is_found_in_a_head_and_only_there() {
        check("GET / HTTP/1.1\r\nhost: x\r\n\r\n", true);
        check("\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\na\nb\n\n", true);
        check("GET / HTTP/1.1\nhost: x\r\n\r\n", false);
        check("GET / HTTP/1.1\r\nhost: x\n\r\n", false);
        check("GET / HTTP/1.1\r\nhost: x\r\n\n", false);
        check("\r\nGET / HTTP/1.1\r\nx: a\ny: b\r\n\r\n", false);
        check("\nGET / HTTP/1.1\r\n\r\n", false);
    }

    const HEAD: &str = "POST / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// Behind a request with this body comes another with this head: cut at any byte behind the
    /// first head, it is `sound` or not.
    fn check_second(body: &str, length: Option<u64>, second: &str, sound: bool) {
        let bytes = format!("{HEAD}{body}{second}");
        let bytes = bytes.as_bytes();
        for at in HEAD.len()..=bytes.len() {
            let mut lines = Lines::default();
            lines.read(&bytes[..at], true);
            assert!(lines.begin(length), "the first head");
            // The answer has ended when the body has, and not before.
            let idle = at >= HEAD.len() + body.len();
            if at < bytes.len() {
                lines.read(&bytes[at..], idle);
            }
            let found = lines.begin(Some(0));
            assert_eq!(found, sound, "{body:?} {second:?} cut at {at}");
        }
    }

    #[test]
    fn a_bare_lf_is_found_in_a_head_behind_a_request() {
        let chunks = "2\r\n{}\r\n0\r\n\r\n";
        for (body, length) in [
            ("", Some(0)),
            ("{}", Some(2)),
            ("{\n}", Some(3)),
            (chunks, None),
        ] {
            check_second(body, length, HEAD, true);
            check_second(body, length, "GET / HTTP/1.1\nhost: x\r\n\r\n", false);
            check_second(body, length, "GET / HTTP/1.1\r\nhost: x\n\r\n", false);
            check_second(body, length, "\r\nGET / HTTP/1.1\r\nhost: x\r\n\n", false);
        }
    }

    #[test]
    fn requests_of_their_own_may_have_any_bodies() {
        let mut lines = Lines::default();
        for (body, length) in [("{\n}", Some(3)), ("3\r\n{\n}\r\n0\r\n\r\n", None)].repeat(3) {
            lines.read(HEAD.as_bytes(), true);
            assert!(lines.begin(length));
            lines.read(body.as_bytes(), false);
        }
    }

    #[test]
    fn pipelined_requests_pass_without_bare_lfs() {
        let mut lines = Lines::default();
        let three = format!("{HEAD}{{}}").repeat(3);
        for _ in 0..2 {
            lines.read(three.as_bytes(), true);
            for _ in 0..3 {
                assert!(lines.begin(Some(2)));
            }
        }
        lines.read(b"GET / HTTP/1.1\nhost: x\r\n\r\n", true);
        assert!(!lines.begin(Some(0)));
    }
}
