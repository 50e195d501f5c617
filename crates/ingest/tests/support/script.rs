//! Cases as text: one action a line, a verb first.

/// Declares verbs with the words they are written as.
macro_rules! verbs {
    ($(#[$doc:meta])* $name:ident { $($(#[$why:meta])* $verb:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$why])* $verb,)* }

        impl $name {
            pub(crate) const ALL: &[(Self, &str)] = &[$((Self::$verb, $word),)*];

            fn word(self) -> &'static str {
                Self::ALL.iter().find(|(verb, _)| *verb == self).unwrap().1
            }

            fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().find(|(_, w)| *w == word).map(|(verb, _)| *verb)
            }
        }
    };
}

pub(crate) use verbs;

/// The lines of a script that say something. A semicolon ends one, too.
pub(crate) fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty())
}
