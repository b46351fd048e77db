// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// A small ERC-721 in which a license can be minted once and never again.
///
/// The license is the idempotency key: `tokenOfLicense` answers whether it was minted, and a second mint
/// reverts with `AlreadyMinted` and the token that is there. Whoever asks twice, loses nothing but gas.
contract LicenseNft {
    error AlreadyMinted(bytes32 license, uint256 tokenId);
    error NotOwner();
    error NotMinter();
    error Paused();
    error ZeroAddress();
    error NoSuchToken(uint256 tokenId);
    error NotAllowed();
    error UnsafeReceiver(address to);

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);
    event LicenseMinted(bytes32 indexed license, uint256 indexed tokenId, address indexed to);

    string public name;
    string public symbol;
    string public baseURI;
    address public owner;
    address public minter;
    bool public paused;
    uint256 public totalSupply;

    mapping(bytes32 => uint256) public tokenOfLicense;
    mapping(uint256 => bytes32) public licenseOfToken;
    mapping(address => uint256) public balanceOf;
    mapping(uint256 => address) public getApproved;
    mapping(address => mapping(address => bool)) public isApprovedForAll;
    mapping(uint256 => address) private holders;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    constructor(string memory name_, string memory symbol_, string memory baseURI_) {
        name = name_;
        symbol = symbol_;
        baseURI = baseURI_;
        owner = msg.sender;
        minter = msg.sender;
    }

    /// Give `to` the token of `license`; token ids count from 1.
    function mint(address to, bytes32 license) external returns (uint256 tokenId) {
        if (msg.sender != minter) revert NotMinter();
        if (paused) revert Paused();
        if (to == address(0)) revert ZeroAddress();
        tokenId = tokenOfLicense[license];
        if (tokenId != 0) revert AlreadyMinted(license, tokenId);
        tokenId = ++totalSupply;
        tokenOfLicense[license] = tokenId;
        licenseOfToken[tokenId] = license;
        holders[tokenId] = to;
        balanceOf[to] += 1;
        emit Transfer(address(0), to, tokenId);
        emit LicenseMinted(license, tokenId, to);
    }

    function setMinter(address minter_) external onlyOwner {
        minter = minter_;
    }

    function setPaused(bool paused_) external onlyOwner {
        paused = paused_;
    }

    function setBaseURI(string calldata baseURI_) external onlyOwner {
        baseURI = baseURI_;
    }

    function transferOwnership(address to) external onlyOwner {
        if (to == address(0)) revert ZeroAddress();
        owner = to;
    }

    function ownerOf(uint256 tokenId) public view returns (address holder) {
        holder = holders[tokenId];
        if (holder == address(0)) revert NoSuchToken(tokenId);
    }

    function tokenURI(uint256 tokenId) external view returns (string memory) {
        ownerOf(tokenId);
        return string.concat(baseURI, decimal(tokenId));
    }

    function approve(address approved, uint256 tokenId) external {
        address holder = ownerOf(tokenId);
        if (msg.sender != holder && !isApprovedForAll[holder][msg.sender]) revert NotAllowed();
        getApproved[tokenId] = approved;
        emit Approval(holder, approved, tokenId);
    }

    function setApprovalForAll(address operator, bool approved) external {
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    function transferFrom(address from, address to, uint256 tokenId) public {
        address holder = ownerOf(tokenId);
        if (holder != from) revert NotAllowed();
        if (to == address(0)) revert ZeroAddress();
        if (
            msg.sender != holder && !isApprovedForAll[holder][msg.sender] && getApproved[tokenId] != msg.sender
        ) revert NotAllowed();
        delete getApproved[tokenId];
        balanceOf[from] -= 1;
        balanceOf[to] += 1;
        holders[tokenId] = to;
        emit Transfer(from, to, tokenId);
    }

    function safeTransferFrom(address from, address to, uint256 tokenId) external {
        safeTransferFrom(from, to, tokenId, "");
    }

    function safeTransferFrom(address from, address to, uint256 tokenId, bytes memory data) public {
        transferFrom(from, to, tokenId);
        if (
            to.code.length != 0
                && IERC721Receiver(to).onERC721Received(msg.sender, from, tokenId, data)
                    != IERC721Receiver.onERC721Received.selector
        ) revert UnsafeReceiver(to);
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x80ac58cd || id == 0x5b5e139f; // ERC-165, ERC-721, its metadata
    }

    function decimal(uint256 number) private pure returns (string memory) {
        if (number == 0) return "0";
        uint256 digits;
        for (uint256 rest = number; rest != 0; rest /= 10) digits++;
        bytes memory text = new bytes(digits);
        for (; number != 0; number /= 10) text[--digits] = bytes1(uint8(48 + number % 10));
        return string(text);
    }
}

interface IERC721Receiver {
    function onERC721Received(address operator, address from, uint256 tokenId, bytes calldata data)
        external
        returns (bytes4);
}
