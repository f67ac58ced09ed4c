// The proxy that one writes in Go in ten minutes: a goroutine per direction and io.Copy, which
// splices between TCP sockets. go_proxy LISTEN UPSTREAM; both may be unix:PATH.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strings"
)

type halfCloser interface{ CloseWrite() error }

func place(text string) (string, string) {
	if strings.HasPrefix(text, "unix:") {
		return "unix", text[len("unix:"):]
	}
	return "tcp", text
}

func pump(to, from net.Conn, done chan<- struct{}) {
	io.Copy(to, from)
	to.(halfCloser).CloseWrite()
	done <- struct{}{}
}

func serve(client net.Conn, network, upstream string) {
	defer client.Close()
	server, err := net.Dial(network, upstream)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	go pump(server, client, done)
	pump(client, server, done)
	<-done
	<-done
}

func main() {
	listener, err := net.Listen(place(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	network, upstream := place(os.Args[2])
	for {
		if client, err := listener.Accept(); err == nil {
			go serve(client, network, upstream)
		}
	}
}
