//! Passwords: what they are checked with, and the work of checking.
//!
//! The work takes memory and time by design, so only a few are worked on at once, apart from those
//! who do not wait, and few more may wait for their turn. For nobody's password as much is done as
//! for somebody's.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use isango_store::users::PasswordHash;
use isango_types::Secret;
use tokio::sync::Semaphore;

use crate::error::Failure;

/// Fewest characters of a new password.
pub(crate) const LEAST: usize = 12;
/// Most bytes of a password.
const MOST: usize = 1_024;
/// Passwords that are worked on at once: each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Passwords that are worked on or wait for it.
const WAITING: usize = 32;
/// Memory of one, in KiB; with it two passes and one lane (OWASP Password Storage Cheat Sheet).
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Length of what comes of it, in bytes.
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Checks and prepares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING)),
            working: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Passwords {
    /// Whether a password is the one of a hash. Without a hash it is not, after the same work.
    pub(crate) async fn is_right(
        &self,
        hash: Option<PasswordHash>,
        password: Secret,
    ) -> Result<bool, Failure> {
        // Alike for everybody: nobody has one as long, and none is worked on.
        if password.expose().len() > MOST {
            return Ok(false);
        }
        self.work(move || is_right(hash.as_ref(), &password)).await
    }

    /// What a new password will be checked with.
    pub(crate) async fn hash(&self, password: Secret) -> Result<PasswordHash, Failure> {
        let hash = self.work(move || hash(&password)).await?;
        hash.ok_or_else(|| Failure::internal(&NoHash))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        let busy = "too many sign in at this moment";
        let place = place.map_err(|_no_place| Failure::busy(busy))?;
        let turn = Arc::clone(&self.working).acquire_owned().await;
        let turn = turn.map_err(|closed| Failure::internal(&closed))?;
        let working = move || {
            let done = work();
            drop((place, turn));
            done
        };
        let done = tokio::task::spawn_blocking(working).await;
        done.map_err(|error| Failure::internal(&error))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a password could not be hashed")]
struct NoHash;

/// # Errors
/// Nobody should use it; what would be right.
pub(crate) fn check_new(name: &str, password: &Secret) -> Result<(), Failure> {
    let text = password.expose();
    let wrong = |message: String| Err(Failure::wrong(&["password"], message));
    if text.chars().count() < LEAST {
        return wrong(format!("a password has at least {LEAST} characters"));
    }
    if text.len() > MOST {
        return wrong(format!("a password has at most {MOST} bytes"));
    }
    if text.eq_ignore_ascii_case(name) {
        return wrong("a password is not the name".into());
    }
    Ok(())
}

fn is_right(hash: Option<&PasswordHash>, password: &Secret) -> bool {
    let text = password.expose().as_bytes();
    let decoded = hash.and_then(|hash| {
        let salt = STANDARD_NO_PAD.decode(&*hash.salt).ok()?;
        let right = STANDARD_NO_PAD.decode(&*hash.hash).ok()?;
        let argon = argon(hash.memory_kib, hash.passes, hash.lanes)?;
        Some((argon, salt, right))
    });
    let mut found = [0; HASH_BYTES];
    let Some((argon, salt, right)) = decoded else {
        if let Some(argon) = argon(MEMORY_KIB, PASSES, LANES) {
            let worked = argon.hash_password_into(text, &[0; SALT_BYTES], &mut found);
            std::hint::black_box(worked.is_ok());
        }
        return false;
    };
    let worked = argon.hash_password_into(text, &salt, &mut found).is_ok();
    worked && verify_slices_are_equal(&found, &right).is_ok()
}

fn hash(password: &Secret) -> Option<PasswordHash> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).ok()?;
    let mut found = [0; HASH_BYTES];
    let argon = argon(MEMORY_KIB, PASSES, LANES)?;
    argon
        .hash_password_into(password.expose().as_bytes(), &salt, &mut found)
        .ok()?;
    Some(PasswordHash {
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: STANDARD_NO_PAD.encode(salt).into(),
        hash: STANDARD_NO_PAD.encode(found).into(),
    })
}

/// `None`: nothing that we have stored asks for as much.
fn argon(memory_kib: u32, passes: u32, lanes: u32) -> Option<Argon2<'static>> {
    let is_ours = memory_kib <= 256 << 10 && passes <= 16 && lanes <= 16;
    let params = Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).ok();
    let params = params.filter(|_| is_ours)?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_for_its_own_hash_alone() {
        let passwords = Passwords::default();
        let secret = |text: &str| Secret::new(text);
        let one = passwords
            .hash(secret("correct horse battery"))
            .await
            .unwrap();
        let other = passwords
            .hash(secret("correct horse battery"))
            .await
            .unwrap();
        assert_ne!(one, other, "no two share their salt");
        let is_right = async |hash: Option<&PasswordHash>, text: &str| {
            let asked = passwords.is_right(hash.cloned(), secret(text));
            asked.await.unwrap()
        };
        assert!(is_right(Some(&one), "correct horse battery").await);
        assert!(!is_right(Some(&one), "correct horse batterz").await);
        assert!(!is_right(None, "correct horse battery").await);
        let greedy = PasswordHash {
            memory_kib: u32::MAX,
            ..one.clone()
        };
        let empty = PasswordHash {
            hash: "".into(),
            ..one.clone()
        };
        for wrong in [greedy, empty] {
            assert!(!is_right(Some(&wrong), "correct horse battery").await);
        }
    }

    #[tokio::test]
    async fn few_may_wait() {
        let passwords = Passwords::default();
        let all = u32::try_from(WAITING).unwrap();
        let held = Arc::clone(&passwords.waiting).try_acquire_many_owned(all);
        let refused = passwords.hash(Secret::new("correct horse battery")).await;
        assert!(refused.is_err());
        drop(held);
        assert!(
            passwords
                .hash(Secret::new("correct horse battery"))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn what_is_too_long_tells_nobody_apart_by_its_time() {
        let passwords = Passwords::default();
        let known = passwords.hash(Secret::new("correct horse battery")).await;
        let known = known.unwrap();
        // Whatever were worked on would be refused.
        let all = u32::try_from(WAITING).unwrap();
        let held = Arc::clone(&passwords.waiting).try_acquire_many_owned(all);
        for hash in [Some(known), None] {
            let long = Secret::new("x".repeat(MOST + 1));
            assert_eq!(passwords.is_right(hash, long).await.ok(), Some(false));
        }
        drop(held);
    }

    #[test]
    fn a_new_password_is_neither_short_nor_the_name() {
        for (text, is_good) in [
            ("twelve chars", true),
            ("éééééééééééé", true),
            ("eleven char", false),
            ("ADA@EXAMPLE.COM", false),
            (&*"x".repeat(1_025), false),
        ] {
            let checked = check_new("ada@example.com", &Secret::new(text));
            assert_eq!(checked.is_ok(), is_good, "{text}");
        }
    }
}
