// Node's net and http in one process: see settings.md.
'use strict';
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');

const [port, job, folder] = process.argv.slice(2);
const body = Buffer.from('Hello, World!\n');
const types = { 'Content-Type': 'text/plain', 'Content-Length': body.length };

function ignore() {}

const jobs = {
    echo(socket) {
        socket.on('data', (data) => socket.write(data));
    },
    accept(socket) {
        socket.on('data', (data) => socket.end(data));
    },
    sink(socket) {
        socket.on('data', ignore);
    },
};

function serveFile(url, response) {
    const name = path.join(folder, path.basename(url));
    fs.stat(name, (error, stat) => {
        if (error) {
            response.writeHead(404);
            response.end();
            return;
        }
        response.writeHead(200, { 'Content-Length': stat.size });
        fs.createReadStream(name, { highWaterMark: 256 * 1024 }).pipe(response);
    });
}

if (job === 'http') {
    const server = http.createServer({ noDelay: true }, (request, response) => {
        if (request.url.startsWith('/files/')) {
            serveFile(request.url, response);
            return;
        }
        response.writeHead(200, types);
        response.end(body);
    });
    server.keepAliveTimeout = 600e3;
    server.listen({ port, host: '127.0.0.1', backlog: 4096 });
} else {
    net.createServer({ noDelay: true, highWaterMark: 256 * 1024 }, (socket) => {
        socket.on('error', ignore);
        jobs[job](socket);
    }).listen({ port, host: '127.0.0.1', backlog: 4096 });
}
