//! An application that the server asks about requests: it answers as a test says, and keeps the questions.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Question {
    head: String,
}

impl Question {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Whether its client has sent this cookie.
    pub fn has_cookie(&self, pair: &str) -> bool {
        self.field("cookie").is_some_and(|cookies| cookies.split("; ").any(|cookie| cookie == pair))
    }
}

/// An application. Runs to the end of the test process.
pub struct Application {
    pub address: SocketAddr,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Application {
    /// Answers each question with a status, fields and a body, as one text without the version; an empty
    /// text is never answered.
    pub fn start(answer: impl Fn(&Question) -> String + Send + Sync + 'static) -> Application {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let questions = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&questions);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                std::thread::spawn(move || converse(socket, &all, &*answer));
            }
        });
        Application { address, questions }
    }

    /// The address of a path of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything it was asked up to now.
    pub fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("no holder panics").clone()
    }
}

fn converse(socket: TcpStream, all: &Mutex<Vec<Question>>, answer: &dyn Fn(&Question) -> String) {
    let mut reader = BufReader::new(socket);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let question = Question { head };
        all.lock().expect("no holder panics").push(question.clone());
        let text = answer(&question);
        if text.is_empty() {
            std::thread::sleep(std::time::Duration::from_secs(60));
            return;
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
