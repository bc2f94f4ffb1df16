//! Guests that want files that are not for them.
