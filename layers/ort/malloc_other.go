//go:build !cgo || !linux

package ort

func setMalloc() {}
func trim()      {}
