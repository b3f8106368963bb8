//! What is secret in the fields of a gateway: headers of exporters of traces, queries of their
//! addresses, the key of usage events. It is stored sealed, and stars stand in its place.
//!
//! A sealed value is bound to its gateway and to the address that it goes to: stars that are sent
//! back keep it, and nobody has it sent elsewhere by changing the address beside it.

use std::collections::BTreeMap;

use isango_types::Secret;
use serde_json::{Map, Value};

use super::StoredGateway;
use crate::config::{Invalid, Wrong};
use crate::seal::{Keyring, SealError};

/// What stands in the place of a secret.
const STARS: &str = "*****";

/// One text of the fields, the end of which is secret.
struct Leaf<'v> {
    /// What tells it from the others of its gateway, wherever it moves in a list: what it is, and the
    /// address that it goes to.
    name: Box<str>,
    /// Which members of the fields lead to it.
    path: Vec<Box<str>>,
    /// What stands before the secret part.
    plain: Box<str>,
    text: &'v mut Value,
}

impl Leaf<'_> {
    fn secret(&self) -> &str {
        let text = self.text.as_str().unwrap_or_default();
        text.strip_prefix(&*self.plain).unwrap_or_default()
    }

    fn put(&mut self, secret: &str) {
        *self.text = format!("{}{secret}", self.plain).into();
    }

    fn wrong(&self, message: String) -> Wrong {
        let path = self.path.clone();
        Wrong { path, message }
    }

    /// What its secret is bound to.
    fn place(&self, gateway: &str) -> Vec<u8> {
        place(gateway, &self.name)
    }
}

fn place(gateway: &str, name: &str) -> Vec<u8> {
    format!("isango gateway secret 1\0{gateway}\0{name}").into_bytes()
}

/// Every text that is secret, and not empty.
fn leaves(fields: &mut Map<String, Value>) -> Vec<Leaf<'_>> {
    let mut all = Vec::new();
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("otel", Value::Array(otel)) => of_otel(otel, &mut all),
            ("stripe", Value::Object(stripe)) => {
                let text = stripe.get_mut("authorization");
                all.extend(text.map(|text| Leaf {
                    name: "stripe".into(),
                    path: ["stripe", "authorization"].map(Into::into).into(),
                    plain: "".into(),
                    text,
                }));
            }
            _ => {}
        }
    }
    all.retain(|leaf| !leaf.secret().is_empty());
    all
}

fn of_otel<'v>(otel: &'v mut [Value], all: &mut Vec<Leaf<'v>>) {
    let address = |exporter: &Value| {
        let url = exporter["url"].as_str().unwrap_or_default();
        url.split('?').next().unwrap_or_default().to_owned()
    };
    // Where several have the same address, nobody knows which is which once there are more or less.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for exporter in &*otel {
        counts.entry(address(exporter)).or_default().1 += 1;
    }
    for (at, exporter) in otel.iter_mut().enumerate() {
        let address = address(exporter);
        let url = exporter["url"].as_str().unwrap_or_default();
        let has_query = url.len() > address.len();
        let (nth, of) = counts.entry(address.clone()).or_default();
        *nth += 1;
        let name = |what: &str| format!("otel {nth} of {of} {address} {what}").into();
        let path = |more: &[&str]| {
            let at = at.to_string();
            let path = ["otel", &at].into_iter().chain(more.iter().copied());
            path.map(Into::into).collect()
        };
        for (member, value) in exporter.as_object_mut().into_iter().flatten() {
            match (member.as_str(), value) {
                ("headers", Value::Object(headers)) => {
                    all.extend(headers.iter_mut().map(|(header, text)| Leaf {
                        name: name(&format!("header {header}")),
                        path: path(&["headers", header]),
                        plain: "".into(),
                        text,
                    }));
                }
                ("url", text) if has_query => all.push(Leaf {
                    name: name("query"),
                    path: path(&["url"]),
                    plain: format!("{address}?").into(),
                    text,
                }),
                _ => {}
            }
        }
    }
}

/// Puts stars in the place of everything that is secret in the fields of a gateway, as they are told.
pub fn mask(fields: &mut Map<String, Value>) {
    for mut leaf in leaves(fields) {
        leaf.put(STARS);
    }
}

impl StoredGateway {
    /// Seals what is secret in the fields, and puts stars in its place; stars that are there stand for
    /// what was sealed before. What no field holds any more is forgotten.
    ///
    /// # Errors
    /// Nothing was sealed before where stars are, or there is no key to seal with.
    pub fn seal(&mut self, keyring: Option<&Keyring>) -> Result<(), Invalid> {
        let gateway = Self::entity_id(&self.account, &self.id);
        let (mut sealed, mut wrong) = (BTreeMap::new(), Vec::new());
        for mut leaf in leaves(&mut self.fields) {
            let text = match (leaf.secret(), keyring) {
                (STARS, _) => self.sealed.get(&leaf.name).cloned().ok_or_else(|| {
                    format!(
                        "`{STARS}` stands for a secret that is kept, and none is kept for this \
                         address: send the secret itself"
                    )
                }),
                (_, None) => {
                    Err("there is no key to seal it with: the operator sets `secrets.key`".into())
                }
                (secret, Some(keyring)) => {
                    let text = keyring
                        .current
                        .seal(&leaf.place(&gateway), &Secret::new(secret));
                    text.map(Into::into).map_err(|error| error.to_string())
                }
            };
            match text {
                Ok(text) => {
                    leaf.put(STARS);
                    sealed.insert(leaf.name, text);
                }
                Err(why) => wrong.push(leaf.wrong(why)),
            }
        }
        self.sealed = sealed;
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Invalid(wrong)),
        }
    }

    /// Puts what was sealed back into the fields. An exporter of traces of which something does not open
    /// is taken out: without it, the rest of the gateway is in force. What did not open, and why.
    pub fn open(&mut self, keyring: Option<&Keyring>) -> Vec<Wrong> {
        let gateway = Self::entity_id(&self.account, &self.id);
        let mut wrong = Vec::new();
        for mut leaf in leaves(&mut self.fields) {
            if leaf.secret() != STARS {
                continue;
            }
            let opened = match (self.sealed.get(&leaf.name), keyring) {
                (None, _) => Err("it is not kept: send it again".to_owned()),
                (Some(_), None) => Err("there is no `secrets.key`".to_owned()),
                (Some(sealed), Some(keyring)) => {
                    let secret = keyring.open(&leaf.place(&gateway), sealed);
                    secret.map_err(|error| error.to_string())
                }
            };
            match opened {
                Ok(secret) => leaf.put(secret.expose()),
                Err(why) => wrong.push(leaf.wrong(format!("the secret does not open: {why}"))),
            }
        }
        if let Some(Value::Array(otel)) = self.fields.get_mut("otel") {
            let is_closed = |at: &str| {
                let mut paths = wrong.iter().map(|one| &one.path);
                paths.any(|path| path.get(1).is_some_and(|place| **place == *at))
            };
            let mut at = 0_usize..;
            otel.retain(|_| !at.next().is_some_and(|at| is_closed(&at.to_string())));
        }
        wrong
    }

    /// Gives a gateway as it was once the secrets that it has `now`, for no history keeps them. Which
    /// members lead to those that are not known any more, and are empty.
    pub fn recover(&mut self, now: Option<&Self>) -> Vec<Vec<Box<str>>> {
        self.sealed = now.map(|now| now.sealed.clone()).unwrap_or_default();
        let mut lost = Vec::new();
        for mut leaf in leaves(&mut self.fields) {
            if leaf.secret() == STARS && !self.sealed.contains_key(&leaf.name) {
                leaf.put("");
                lost.push(leaf.path);
            }
        }
        lost
    }

    /// Seals with the current key what another one sealed; tells whether there was something.
    ///
    /// # Errors
    /// [`SealError`]: something does not open.
    pub fn reseal(&mut self, keyring: &Keyring) -> Result<bool, SealError> {
        let gateway = Self::entity_id(&self.account, &self.id);
        let mut is_changed = false;
        for (name, sealed) in &mut self.sealed {
            if !keyring.is_current(sealed) {
                let place = place(&gateway, name);
                let secret = keyring.open(&place, sealed)?;
                *sealed = keyring.current.seal(&place, &secret)?.into();
                is_changed = true;
            }
        }
        Ok(is_changed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seal::SealKey;

    fn ring(current: u8, previous: Option<u8>) -> Keyring {
        let key = |n: u8| SealKey::parse(&Secret::new(format!("{n:02x}").repeat(32))).unwrap();
        Keyring {
            current: key(current),
            previous: previous.map(key),
        }
    }

    fn gateway(fields: &Value) -> StoredGateway {
        StoredGateway {
            account: "local".into(),
            id: "shop".into(),
            created_at: isango_types::Timestamp::default(),
            modified_at: isango_types::Timestamp::default(),
            fields: fields.as_object().unwrap().clone(),
            settings: Map::new(),
            sealed: BTreeMap::new(),
        }
    }

    fn fields() -> Value {
        json!({
            "cache_ttl": 60,
            "otel": [
                {"url": "https://a.example/v1/traces?key=planted-1", "headers": {"x": "planted-2"}},
                {"url": "https://b.example", "headers": {"x": "planted-3", "y": "planted-4"}},
                {"url": "https://b.example", "headers": {"x": "planted-5"}},
                {"url": "https://c.example", "headers": {}},
            ],
            "stripe": {"authorization": "planted-6", "usage_events": []},
        })
    }

    fn sealed() -> StoredGateway {
        let mut one = gateway(&fields());
        one.seal(Some(&ring(1, None))).unwrap();
        one
    }

    #[test]
    fn what_is_secret_is_stored_sealed_and_opens_again() {
        let mut one = sealed();
        let body = one.body().unwrap();
        assert!(!body.contains("planted"), "{body}");
        assert_eq!(
            one.fields["otel"][0]["url"],
            "https://a.example/v1/traces?*****"
        );
        assert_eq!(
            one.fields["otel"][1]["headers"],
            json!({"x": STARS, "y": STARS})
        );
        assert_eq!(one.fields["stripe"]["authorization"], STARS);
        assert_eq!(one.open(Some(&ring(1, None))), []);
        assert_eq!(Value::from(one.fields), fields());
    }

    #[test]
    fn stars_keep_a_secret_at_its_address_and_nowhere_else() {
        let ring = ring(1, None);
        let mut one = sealed();
        // Elsewhere in the list, and beside something new.
        one.fields["otel"].as_array_mut().unwrap().swap(0, 2);
        one.fields["otel"][1]["headers"]["y"] = "new".into();
        one.seal(Some(&ring)).unwrap();
        assert_eq!(one.open(Some(&ring)), []);
        assert_eq!(one.fields["otel"][2]["headers"]["x"], "planted-2");
        assert_eq!(one.fields["otel"][1]["headers"]["y"], "new");
        for (at, change) in [
            ("url", json!("https://evil.example/v1/traces?*****")),
            ("url", json!("http://a.example/v1/traces?*****")),
            ("headers", json!({"z": STARS})),
        ] {
            let mut moved = sealed();
            moved.fields["otel"][0][at] = change;
            let told = moved.seal(Some(&ring)).unwrap_err();
            assert!(told.to_string().contains("none is kept"), "{told}");
        }
        // What was sealed for one gateway does not open in another.
        let mut other = sealed();
        other.id = "other".into();
        assert_eq!(other.open(Some(&ring)).len(), 6);
    }

    #[test]
    fn without_a_key_nothing_is_stored() {
        let told = gateway(&fields()).seal(None).unwrap_err();
        assert!(told.to_string().contains("`secrets.key`"), "{told}");
        let plain = json!({"cache_ttl": 60, "otel": [{"url": "https://a.example", "headers": {}}]});
        assert!(gateway(&plain).seal(None).is_ok());
    }

    #[test]
    fn an_exporter_that_does_not_open_is_taken_out_alone() {
        let mut one = sealed();
        one.sealed.retain(|name, _| !name.contains("header y"));
        let wrong = one.open(Some(&ring(1, None)));
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].path.join("/"), "otel/1/headers/y");
        let otel = one.fields["otel"].as_array().unwrap();
        let left: Vec<&str> = otel
            .iter()
            .map(|one| one["url"].as_str().unwrap())
            .collect();
        assert_eq!(
            left,
            [
                "https://a.example/v1/traces?key=planted-1",
                "https://b.example",
                "https://c.example"
            ]
        );
    }

    #[test]
    fn a_gateway_of_before_has_the_secrets_of_now_or_none() {
        let now = sealed();
        let mut then = sealed();
        then.sealed.clear();
        then.fields["otel"][1]["url"] = "https://gone.example".into();
        let lost = then.recover(Some(&now));
        let lost: Vec<String> = lost.iter().map(|path| path.join("/")).collect();
        // Which of two at one address the other one was is not known.
        assert_eq!(
            lost,
            ["otel/1/headers/x", "otel/1/headers/y", "otel/2/headers/x"]
        );
        then.seal(Some(&ring(1, None))).unwrap();
        assert_eq!(then.open(Some(&ring(1, None))), []);
        assert_eq!(then.fields["otel"][0]["headers"]["x"], "planted-2");
        assert_eq!(then.fields["otel"][1]["headers"], json!({"x": "", "y": ""}));
    }

    #[test]
    fn another_key_seals_it_anew() {
        let mut one = sealed();
        assert!(one.reseal(&ring(2, Some(1))).unwrap());
        assert!(!one.reseal(&ring(2, None)).unwrap());
        assert_eq!(one.open(Some(&ring(2, None))), []);
        assert!(sealed().reseal(&ring(3, None)).is_err());
    }
}
