//! A client that speaks HTTP as plain text, well-behaved or not.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::{DEADLINE, Service};

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    port: u16,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn of(service: &Service) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, port: service.port }
    }

    /// `PORT` stands for the service's.
    pub(crate) fn send(&mut self, text: &str) {
        let text = text.replace("PORT", &self.port.to_string());
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// One reply, whose body is as long as it says; an error when the connection ends before.
    pub(crate) fn reply(&mut self, has_body: bool) -> io::Result<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if has_body {
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            reply.body = String::from_utf8(body).unwrap();
        }
        Ok(reply)
    }

    /// A request on a connection that stays.
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"));
        self.reply(true).unwrap()
    }

    /// Waits until the server has closed the connection; whatever it sent before is passed over.
    pub(crate) fn wait_closed(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                panic!("the connection is still open: {error}")
            }
            _ => {}
        }
    }

    /// Whether the server has closed the connection by now, to one that sent and read nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let closed = !self
            .stream
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        closed
    }
}
