//! Strings stored once. In: text. Out: a small copyable name. Knows nothing else.

use std::collections::HashMap;
use std::sync::Arc;

/// A string of one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name(pub u32);

/// Each distinct string once. [`Name`] 0 is the empty string, as in pprof.
#[derive(Clone, Debug)]
pub struct Interner {
    by_text: HashMap<Arc<str>, Name>,
    texts: Vec<Arc<str>>,
}

impl Default for Interner {
    fn default() -> Self {
        let empty: Arc<str> = "".into();
        Self { by_text: HashMap::from([(empty.clone(), Name(0))]), texts: vec![empty] }
    }
}

impl Interner {
    /// The name of `text`, made if it is new.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.by_text.get(text) {
            return *name;
        }
        let name = Name(self.texts.len() as u32);
        let text: Arc<str> = text.into();
        self.by_text.insert(text.clone(), name);
        self.texts.push(text);
        name
    }

    /// The name of `text`, if it was interned before.
    pub fn get(&self, text: &str) -> Option<Name> {
        self.by_text.get(text).copied()
    }

    /// The text of a name of this interner.
    pub fn text(&self, name: Name) -> &str {
        &self.texts[name.0 as usize]
    }

    /// The text of a name of this interner, to be kept.
    pub fn shared(&self, name: Name) -> &Arc<str> {
        &self.texts[name.0 as usize]
    }

    /// How many distinct strings there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// False: the empty string is always there.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}
