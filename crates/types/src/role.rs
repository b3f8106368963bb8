//! What a user may do in an account.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The account that stands for every account, in the roles of a user.
pub const EVERY_ACCOUNT: &str = "*";

/// What a user may do; each also has what everybody has: looking at configuration and figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but with owners: who is one, and what they are.
    Admin,
    /// Looks at everything but what was said: no prompt, no answer, wherever they stand. Keeps
    /// views.
    Analyst,
    /// Looks at everything, prompts and answers included; changes nothing.
    Viewer,
}

impl Role {
    /// Every role, the strongest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Analyst, Self::Viewer];

    /// Its name in the API and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Analyst => "analyst",
            Self::Viewer => "viewer",
        }
    }

    /// The role of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it changes what is configured.
    #[must_use]
    pub const fn changes(self) -> bool {
        match self {
            Self::Owner | Self::Admin => true,
            Self::Analyst | Self::Viewer => false,
        }
    }

    /// Whether it sees what was said.
    #[must_use]
    pub const fn reads_bodies(self) -> bool {
        match self {
            Self::Owner | Self::Admin | Self::Viewer => true,
            Self::Analyst => false,
        }
    }

    /// Whether who has it may give this role, change who has it, and take it.
    #[must_use]
    pub const fn rules(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => !matches!(other, Self::Owner),
            Self::Analyst | Self::Viewer => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_rules_above_themselves() {
        for one in Role::ALL {
            assert_eq!(Role::parse(one.as_str()), Some(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
            for other in Role::ALL {
                let is_stronger = other == Role::Owner && one != Role::Owner;
                assert_eq!(
                    one.rules(other),
                    one.changes() && !is_stronger,
                    "{one} {other}"
                );
            }
        }
        assert_eq!(Role::parse("root"), None);
    }
}
