//! What the models of ingest have in common: random cases that are played, shortened and printed
//! (`cases`), how they are written (`script`), and a daemon that can be killed (`daemon`).

pub(crate) mod cases;
pub(crate) mod daemon;
pub(crate) mod script;
