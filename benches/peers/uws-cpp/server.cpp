/* The µWebSockets peer: HttpResponse::write for each subscriber, corked.
 *
 * Inside a request handler the cork buffer belongs to the publisher, and an uncorked write costs four system
 * calls; so publishes are kept until the end of the loop's turn, where the buffer is free. Those of one turn
 * leave together, as with the library's own publish/subscribe for WebSockets.
 *
 * usage: server PORT        environment: HEARTBEAT_MS (0 = none)
 */
#include "App.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unordered_map>
#include <vector>

using Response = uWS::HttpResponse<false>;

struct Subscriber {
    Response *response;
    size_t place;
};

struct Topic {
    std::vector<Subscriber *> subscribers;
    std::vector<std::string> pending;
};

struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
};

static std::unordered_map<std::string, Topic, Hash, std::equal_to<>> topics;
static std::vector<Topic *> published;

static Topic *topic_of(uWS::HttpRequest *request) {
    std::string_view name = request->getQuery("topic");
    auto found = topics.find(name);
    if (found == topics.end()) found = topics.try_emplace(std::string(name)).first;
    return &found->second;
}

static void subscribe(Response *response, uWS::HttpRequest *request) {
    Topic *topic = topic_of(request);
    auto *subscriber = new Subscriber{response, topic->subscribers.size()};
    topic->subscribers.push_back(subscriber);
    response->onAborted([topic, subscriber]() {
        Subscriber *last = topic->subscribers.back();
        topic->subscribers[subscriber->place] = last;
        last->place = subscriber->place;
        topic->subscribers.pop_back();
        delete subscriber;
    });
    /* Without a handler, a stream that was once behind would be closed 10 s after it has caught up. A write is
     * also what empties the library's buffer. */
    response->onWritable([response](uintmax_t) { return response->write(":\n"); });
    response->writeHeader("Content-Type", "text/event-stream")->writeHeader("Cache-Control", "no-cache");
    response->write(":ok\n\n");
}

static void publish(Topic *topic, std::string_view body) {
    if (topic->pending.empty()) published.push_back(topic);
    std::string &frame = topic->pending.emplace_back();
    frame.reserve(body.size() + 8);
    frame.append("data: ").append(body).append("\n\n");
}

static void read_publish(Response *response, uWS::HttpRequest *request) {
    Topic *topic = topic_of(request);
    auto accept = [response, topic](std::string_view body) {
        publish(topic, body);
        response->writeStatus("202 Accepted")->end();
    };
    response->onAborted([]() {});
    response->onData([accept, held = std::unique_ptr<std::string>()](std::string_view part, bool last) mutable {
        if (last && !held) {
            accept(part);
            return;
        }
        if (!held) held = std::make_unique<std::string>();
        held->append(part);
        if (last) accept(*held);
    });
}

static void flush(uWS::Loop *) {
    for (Topic *topic : published) {
        for (Subscriber *subscriber : topic->subscribers) {
            subscriber->response->cork([topic, subscriber]() {
                for (const std::string &frame : topic->pending) subscriber->response->write(frame);
            });
        }
        topic->pending.clear();
    }
    published.clear();
}

static void heartbeat(us_timer_t *) {
    for (auto &[name, topic] : topics) {
        for (Subscriber *subscriber : topic.subscribers) {
            subscriber->response->cork([subscriber]() { subscriber->response->write(":\n"); });
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    uWS::Loop *loop = uWS::Loop::get();
    loop->addPostHandler(&topics, flush);
    const char *every = getenv("HEARTBEAT_MS");
    if (int every_ms = every ? atoi(every) : 0) {
        us_timer_set(us_create_timer((us_loop_t *) loop, 1, 0), heartbeat, every_ms, every_ms);
    }
    uWS::App app;
    app.get("/events", subscribe).post("/publish", read_publish);
    app.listen("127.0.0.1", atoi(argv[1]), [](us_listen_socket_t *socket) {
        if (!socket) exit(1);
        /* The library's queue of 512 is short for a storm of connections. */
        listen((int) (intptr_t) us_socket_get_native_handle(0, (us_socket_t *) socket), 65535);
    });
    app.run();
}
