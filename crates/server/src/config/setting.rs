//! Inheritance between the levels of a configuration, written once.
//!
//! nginx merges `http`, `server` and `location` with one rule for nearly every directive: a
//! value that a level does not set is its parent's, and where nobody sets it, the default. The
//! [`settings!`](crate::config::setting::settings) macro states that rule, so that a module
//! only lists its fields.

/// A level's settings as written: each field set, or not.
pub(crate) trait Inherit {
    /// The same settings with nothing left open.
    type Merged;

    /// Fills what this level leaves open from `parent`, or from the defaults at the top.
    fn merge(self, parent: Option<&Self::Merged>) -> Self::Merged;

    /// Fills what says who answers, where this level leaves it open, from the location around it. Called
    /// for the blocks of a location alone (`if`, `limit_except`), which answer as the location does.
    fn take_handler(&mut self, _around: &Self::Merged) {}
}

/// Declares a module's settings: the merged struct, the one as written, and the merge.
///
/// Fields under `inherit` take the parent's value when unset; fields under `own` hold for the
/// very level that sets them (`try_files`, `return`), those under `handler` for that level and for
/// an `if` in it (`stub_status`).
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $merged:ident / $raw:ident {
            inherit {
                $( $(#[$imeta:meta])* $ifield:ident : $ity:ty = $idefault:expr ),* $(,)?
            }
            own {
                $( $(#[$ometa:meta])* $ofield:ident : $oty:ty = $odefault:expr ),* $(,)?
            }
            $(handler {
                $( $(#[$hmeta:meta])* $hfield:ident : $hty:ty = $hdefault:expr ),* $(,)?
            })?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $merged {
            $( $(#[$imeta])* pub $ifield: $ity, )*
            $( $(#[$ometa])* pub $ofield: $oty, )*
            $( $( $(#[$hmeta])* pub $hfield: $hty, )* )?
        }

        #[derive(Debug, Default)]
        #[allow(clippy::empty_structs_with_brackets)]
        pub(crate) struct $raw {
            $( pub $ifield: Option<$ity>, )*
            $( pub $ofield: Option<$oty>, )*
            $( $( pub $hfield: Option<$hty>, )* )?
        }

        impl $crate::config::setting::Inherit for $raw {
            type Merged = $merged;

            fn merge(self, parent: Option<&$merged>) -> $merged {
                let _ = parent;
                $merged {
                    $( $ifield: self.$ifield
                        .or_else(|| parent.map(|level| level.$ifield.clone()))
                        .unwrap_or_else(|| $idefault), )*
                    $( $ofield: self.$ofield.unwrap_or_else(|| $odefault), )*
                    $( $( $hfield: self.$hfield.unwrap_or_else(|| $hdefault), )* )?
                }
            }

            fn take_handler(&mut self, around: &$merged) {
                let _ = around;
                $( $( self.$hfield.get_or_insert_with(|| around.$hfield.clone()); )* )?
            }
        }
    };
}
pub(crate) use settings;

/// Composes the modules' settings into one struct a level.
macro_rules! compose {
    (
        $(#[$meta:meta])*
        pub struct $merged:ident / $raw:ident {
            $( $(#[$fmeta:meta])* $field:ident : $ty:ty => $rawty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $merged { $( $(#[$fmeta])* pub $field: $ty, )* }

        #[derive(Debug, Default)]
        pub(crate) struct $raw { $( pub $field: $rawty, )* }

        impl $crate::config::setting::Inherit for $raw {
            type Merged = $merged;

            fn merge(self, parent: Option<&$merged>) -> $merged {
                $merged { $( $field: self.$field.merge(parent.map(|level| &level.$field)), )* }
            }

            fn take_handler(&mut self, around: &$merged) {
                $( self.$field.take_handler(&around.$field); )*
            }
        }
    };
}
pub(crate) use compose;

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro declares public settings")]
mod tests {
    use super::Inherit;

    super::settings! {
        /// A level.
        pub struct Sample / RawSample {
            inherit {
                /// Inherited.
                size: u64 = 8,
            }
            own {
                /// Not inherited.
                mark: bool = false,
            }
            handler {
                /// Of an `if` too.
                answers: bool = false,
            }
        }
    }

    #[test]
    fn unset_is_the_parents_and_at_the_top_the_default() {
        let top = RawSample::default().merge(None);
        assert_eq!((top.size, top.mark), (8, false));
        let middle = RawSample {
            size: Some(5),
            mark: Some(true),
            answers: Some(true),
        }
        .merge(Some(&top));
        let leaf = RawSample::default().merge(Some(&middle));
        assert_eq!((leaf.size, leaf.mark, leaf.answers), (5, false, false));
        let mut within = RawSample::default();
        within.take_handler(&middle);
        let within = within.merge(Some(&middle));
        assert_eq!((within.size, within.mark, within.answers), (5, false, true));
    }
}
