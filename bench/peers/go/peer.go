// Go's net and net/http, each job as its documentation has it: a goroutine a connection, one buffer
// for its life; http.Server with a handler that says how long its answer is. See settings.md.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func serve(conn net.Conn, job string) {
	size := 16 * 1024
	if job == "sink" {
		size = 256 * 1024
	}
	buffer := make([]byte, size)
	defer conn.Close()
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if job == "sink" {
			continue
		}
		if _, err = conn.Write(buffer[:n]); err != nil || job == "accept" {
			return
		}
	}
}

func tcp(address, job string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(conn, job) // TCP_NODELAY is on by default
	}
}

func web(address, folder string) error {
	body := []byte("Hello, World!\n")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"text/plain"}
		w.Write(body)
	})
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(folder))))
	server := &http.Server{Addr: address, Handler: mux, IdleTimeout: 600 * time.Second}
	return server.ListenAndServe()
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintf(os.Stderr, "usage: %s PORT echo|accept|sink|http [FOLDER]\n", os.Args[0])
		os.Exit(64)
	}
	address, job := "127.0.0.1:"+os.Args[1], os.Args[2]
	if job == "http" {
		log.Fatal(web(address, os.Args[3]))
	}
	log.Fatal(tcp(address, job))
}
