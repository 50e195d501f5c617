//! Faults from outside: what fails comes back or ends the process, nothing is lost or counted twice,
//! and health tells the truth meanwhile.

mod database;
mod limits;
mod syscalls;
