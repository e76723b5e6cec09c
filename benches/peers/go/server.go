// Server-sent events with net/http in its usual good form: a goroutine and a channel for each client; what has
// gathered in the channel is written before one Flush; a client whose channel is full is let go.
//
// usage: server PORT        environment: HEARTBEAT_MS (0 = none)
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Events that may wait for one client, a little more than the load keeps in flight.
const waitingMax = 100

var (
	greeting  = []byte(":ok\n\n")
	comment   = []byte(":\n\n")
	heartbeat time.Duration
	topics    sync.Map // name -> *topic
)

type client chan []byte

type topic struct {
	sync.Mutex
	clients map[client]struct{}
}

func topicOf(r *http.Request) *topic {
	name := r.URL.Query().Get("topic")
	if found, ok := topics.Load(name); ok {
		return found.(*topic)
	}
	found, _ := topics.LoadOrStore(name, &topic{clients: make(map[client]struct{})})
	return found.(*topic)
}

func (t *topic) join(c client) {
	t.Lock()
	t.clients[c] = struct{}{}
	t.Unlock()
}

func (t *topic) leave(c client) {
	t.Lock()
	delete(t.clients, c)
	t.Unlock()
}

func (t *topic) publish(frame []byte) {
	t.Lock()
	defer t.Unlock()
	for c := range t.clients {
		select {
		case c <- frame:
		default:
			delete(t.clients, c)
			close(c)
		}
	}
}

func publish(w http.ResponseWriter, r *http.Request) {
	frame := make([]byte, 6, 8+max(r.ContentLength, 0))
	copy(frame, "data: ")
	var err error
	if r.ContentLength >= 0 {
		frame = frame[:6+r.ContentLength]
		_, err = io.ReadFull(r.Body, frame[6:])
	} else {
		var body []byte
		body, err = io.ReadAll(r.Body)
		frame = append(frame, body...)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	topicOf(r).publish(append(frame, "\n\n"...))
	w.WriteHeader(http.StatusAccepted)
}

func max(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}

// Writes an event and those that wait behind it, then flushes; false if the client is gone.
func write(w http.ResponseWriter, flusher http.Flusher, c client, frame []byte) bool {
	for {
		if _, err := w.Write(frame); err != nil {
			return false
		}
		var open bool
		select {
		case frame, open = <-c:
			if !open {
				return false
			}
		default:
			flusher.Flush()
			return true
		}
	}
}

func subscribe(w http.ResponseWriter, r *http.Request) {
	flusher := w.(http.Flusher)
	c := make(client, waitingMax)
	t := topicOf(r)
	t.join(c)
	defer t.leave(c)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(greeting)
	flusher.Flush()
	var ticks <-chan time.Time
	if heartbeat > 0 {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		ticks = ticker.C
	}
	gone := r.Context().Done()
	for {
		select {
		case frame, open := <-c:
			if !open {
				panic(http.ErrAbortHandler)
			}
			if !write(w, flusher, c, frame) {
				panic(http.ErrAbortHandler)
			}
		case <-ticks:
			if _, err := w.Write(comment); err != nil {
				return
			}
			flusher.Flush()
		case <-gone:
			return
		}
	}
}

func main() {
	every, _ := strconv.Atoi(os.Getenv("HEARTBEAT_MS"))
	heartbeat = time.Duration(every) * time.Millisecond
	mux := http.NewServeMux()
	mux.HandleFunc("/events", subscribe)
	mux.HandleFunc("/publish", publish)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
