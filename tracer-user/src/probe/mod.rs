//! The only user of aya: loads kernel programs, attaches them, drains their maps.
