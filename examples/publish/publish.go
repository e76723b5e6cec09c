// Publishes one event: go run publish.go TOPIC TEXT. CONTROL is the server's control address.
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	control := os.Getenv("CONTROL")
	if control == "" {
		control = "http://127.0.0.1:8081"
	}
	url := control + "/publish?topic=" + url.QueryEscape(os.Args[1])
	answer, err := http.Post(url, "text/plain", strings.NewReader(os.Args[2]))
	if err != nil || answer.StatusCode != http.StatusAccepted {
		fmt.Fprintln(os.Stderr, "not published:", err, answer)
		os.Exit(1)
	}
}
